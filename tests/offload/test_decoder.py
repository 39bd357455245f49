"""Generation: prefill and decode steps whose state goes from one to the next, on any platform."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.carving import decoder, models
from tapml_fuzz.carving.sentences import Batch
from tapml_fuzz.core.errors import BadModel
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.offload.generation import generations
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.ledger import Ledger
from tapml_fuzz.offload.subject import Subject, subject_of
from tapml_fuzz.offload.units import OffloadUnit, ordered, units_of
from tapml_fuzz.offload.views import view
from tapml_fuzz.offload.walk import Alone, Graph, Walker
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.torch.eager import TorchCpu

TEXTS = ("Rain again today", "No", "The train was late")
STEPS = 3


def save_tokenizer(folder: Path) -> int:
    """Write a tokenizer of bytes into a model's folder; the size of its vocabulary."""
    import tokenizers
    import transformers

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", *alphabet])}
    learnt = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    learnt.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=learnt, pad_token="<pad>", model_input_names=["input_ids", "attention_mask"]
    ).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> models.Model:
    """A llama of one layer, whose two heads share keys and values."""
    import transformers

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model") / "tiny-llama"
    size = save_tokenizer(folder)
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        hidden_act="gelu_pytorch_tanh",  # a call with a text among its arguments
        max_position_embeddings=64,
        initializer_range=0.4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return models.load(str(folder))


@pytest.fixture(scope="module")
def subject(model: models.Model) -> Subject:
    graphs = decoder.Graphs(model, TEXTS, "cpu")
    recordings = generations(graphs, [Batch((1, 2), TEXTS[:2]), Batch((3,), TEXTS[2:])], STEPS)
    return subject_of(model, "torch-cpu", Policy(), "generation", recordings)


class Faulty(TorchCpu):
    """torch, one operator of which is off by a hundredth."""

    name = "faulty"

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def build(self, unit: Any) -> Any:
        return unit.operator.key, super().build(unit)

    def compute(self, build: Any, tensors: Sequence[Any], sizes: Any) -> list[Any]:
        key, built = build
        outputs = super().compute(built, tensors, sizes)
        return [output * 1.01 for output in outputs] if key == self._key else outputs


def keys_of(subject: Subject, graph: str) -> set[str]:
    return {step.operator.key for r in subject.recordings if r.graph == graph for step in r.steps}


def test_a_prefill_and_decode_steps_per_batch_with_the_state_handed_on(subject: Subject) -> None:
    assert [r.graph for r in subject.recordings] == ["prefill", *["decode"] * STEPS] * 2
    for before, recording in zip(subject.recordings, subject.recordings[1:], strict=False):
        assert len(recording.carried) == (2 if recording.graph == "decode" else 0)
        for name, number in recording.carried.items():
            assert torch.equal(recording.given[name], before.tensor(before.outputs[number]))


def test_the_tokens_are_those_that_the_model_generates(subject: Subject, model: models.Model) -> None:
    assert model.language_model is not None
    for first, texts in ((0, TEXTS[:2]), (STEPS + 1, TEXTS[2:])):
        encoded = model.tokenizer(list(texts), padding=True, padding_side="left", return_tensors="pt")
        made = model.language_model.generate(**encoded, max_new_tokens=STEPS + 1, do_sample=False, use_cache=True)  # type: ignore[operator]
        runs = subject.recordings[first : first + STEPS + 1]
        chosen = torch.cat([r.tensor(r.outputs[0])[:, -1:].argmax(-1) for r in runs], -1)
        assert torch.equal(chosen, made[:, encoded["input_ids"].shape[1] :])


def test_the_last_step_with_its_state_gives_what_the_whole_sequence_gives(
    subject: Subject, model: models.Model
) -> None:
    runs = subject.recordings[: STEPS + 1]
    last = runs[-1]
    inputs = {
        "input_ids": torch.cat([r.given["inputs_input_ids"] for r in runs], -1),
        "position_ids": torch.cat([r.given["inputs_position_ids"] for r in runs], -1),
        "attention_mask": last.given["inputs_attention_mask"],
    }
    assert model.language_model is not None
    with torch.no_grad():
        whole = model.language_model(**inputs, use_cache=True)
    (layer,) = whole.past_key_values.layers
    for name, expected in zip(last.outputs, (whole.logits[:, -1:], layer.keys, layer.values), strict=True):
        torch.testing.assert_close(last.tensor(name), expected, rtol=1e-4, atol=1e-5)


def test_being_carried_does_not_widen_what_is_allowed(subject: Subject) -> None:
    """The prefill's keys are allowed the same when the last step gives them again."""
    first, last = (subject.tolerances[n].propagated[subject.recordings[n].outputs[1]] for n in (0, STEPS))
    assert first is not None
    assert last is not None
    assert 0.5 < np.median(last[:, :, : first.shape[2]] / first) < 2


def test_the_source_run_again_is_within_its_bounds_and_the_same_text(subject: Subject) -> None:
    with Hybrid(Site("torch-cpu")) as hybrid:
        check = subject.check(hybrid, {})
    assert check.worst.ratio == 0
    assert check.view.same_text is True
    assert check.view.agreement == 1
    assert {g.recording for g in check.grown} == set(range(len(subject.recordings)))


def test_state_goes_on_as_the_hybrid_run_made_it(subject: Subject) -> None:
    """An operator that makes keys in the prefill alone is wrong: the steps after it run on wrong keys."""
    prompt = subject.recordings[0]
    key = next(step.operator.key for step in prompt.steps if prompt.outputs[1] in step.outputs)
    assert key not in keys_of(subject, "decode")
    with Hybrid(Site("torch-cpu"), Site("faulty", Faulty(key))) as hybrid:
        check = subject.check(hybrid, {key: "faulty"})
    wrong = {g.recording for g in check.grown if g.ratio > 1}
    assert wrong == set(range(len(subject.recordings)))


def test_a_fault_that_only_decode_steps_have_is_blamed_on_its_operator(subject: Subject, tmp_path: Path) -> None:
    only = keys_of(subject, "decode") - keys_of(subject, "prefill")
    key = next(key for key in sorted(only) if subject.operators[key].short_name == "cat")
    with Hybrid(Site("torch-cpu"), Site("faulty", Faulty(key))) as hybrid:
        walker: Walker[OffloadUnit] = Walker(Graph(subject, hybrid), "faulty", Ledger(tmp_path), lambda unit: Alone())
        results = walker.walk(ordered(units_of(subject), "common"))
        final = walker.final()
    (blocked,) = (result for result in results if result.status != "moved")
    assert (blocked.key, blocked.where, blocked.partners) == (key, "model", ())
    first = next(grown for grown in blocked.growth if grown.propagated > 1)
    assert first.key == key
    assert first.forced is not None
    assert first.forced > 1
    assert not final.failed
    assert final.view.same_text is True


def test_the_text_is_another_when_one_token_is(subject: Subject) -> None:
    wanted = [[to_numpy(r.tensor(name)) for name in r.outputs] for r in subject.recordings]
    given = [list(arrays) for arrays in wanted]
    given[2][0] = -given[2][0]
    seen = view("generation", given, wanted)
    assert seen.same_text is False
    assert seen.agreement is not None
    assert 0.5 < seen.agreement < 1


def test_the_head_of_gpt2_is_a_language_models_too(tmp_path: Path) -> None:
    import transformers

    size = save_tokenizer(tmp_path)
    transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=size, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    ).save_pretrained(tmp_path)
    loaded = models.load(str(tmp_path))
    assert loaded.language_model is not None
    assert loaded.module(loaded.tokenize(["No"]))[0].shape == (1, 2, size)


def test_an_encoder_generates_no_text(model: models.Model) -> None:
    with pytest.raises(BadModel, match="generates no text"):
        decoder.Graphs(dataclasses.replace(model, language_model=None), TEXTS, "cpu")
