"""Seeds: what is saved is what is loaded, and only what fits its operator is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.errors import BadCorpus
from tapml_fuzz.core.operator import Index, Operator, Product, Slot, encode_operator
from tapml_fuzz.storage import seeds
from tapml_fuzz.storage.seeds import Provenance, Seed, Sentence, load, revive_operator, save
from tapml_fuzz.storage.tensors import pack

PROVENANCE = Provenance(
    model="tiny",
    weights="00",
    sentences=(Sentence(3, "Grüße, 世界 🙂"),),
    node="gelu_1",
    module="encoder.layer.0",
    device="cpu",
    dtype="float32",
    full_shapes=((4, 5),),
    versions={"torch": "2.13.0"},
)
A, B = Product(("a",)), Product(("b",))
GELU = Operator("aten.gelu.default", (Slot(0),), {"approximate": "tanh"}, ((A, B),), ("bfloat16",))
EMBEDDING = Operator(
    "aten.embedding.default", (Slot(0), Slot(1)), {}, ((A, B), (Product(("c",)),)), ("float32", "int64"), (Index(1, A),)
)


def gelu_seed() -> Seed:
    x = np.arange(6).reshape(3, 2).T.astype(ml_dtypes.bfloat16)  # not contiguous
    return Seed(GELU, {"a": 2, "b": 3}, (x,), (x * x,), PROVENANCE)


def embedding_seed(ids: list[int]) -> Seed:
    table = np.ones((4, 2), np.float32)
    return Seed(EMBEDDING, {"a": 4, "b": 2, "c": len(ids)}, (table, np.array(ids)), (), PROVENANCE)


def test_round_trip(tmp_path: Path) -> None:
    seed = gelu_seed()
    path = tmp_path / f"{seed.id}.safetensors"
    save(seed, path)
    again = load(path, seed.id)
    assert again.operator == seed.operator
    assert again.sizes == seed.sizes
    assert again.provenance == PROVENANCE
    assert again.id == seed.id
    for read, written in zip((*again.tensors, *again.outputs), (*seed.tensors, *seed.outputs), strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)


def test_case_is_the_recorded_call() -> None:
    seed = gelu_seed()
    case = seed.case()
    assert case.origin == f"seed:{seed.id}"
    assert case.shapes == ((2, 3),)
    assert case.dtypes == ("bfloat16",)


def test_id_is_of_the_content_alone() -> None:
    seed = gelu_seed()
    elsewhere = replace(seed, provenance=msgspec.structs.replace(PROVENANCE, node="gelu_2"))
    other_output = replace(seed, outputs=(seed.outputs[0] + 1,))
    other_sizes = replace(embedding_seed([0, 1]), sizes={"a": 4, "b": 2, "c": 3})
    assert elsewhere.id == seed.id
    assert other_output.id != seed.id
    assert other_sizes.id != embedding_seed([0, 1]).id


def test_changed_values_are_found_out(tmp_path: Path) -> None:
    seed = gelu_seed()
    tampered = replace(seed, tensors=(seed.tensors[0] + 1,))
    save(tampered, tmp_path / "s.safetensors")
    load(tmp_path / "s.safetensors", tampered.id)
    with pytest.raises(BadCorpus, match="not what was recorded"):
        load(tmp_path / "s.safetensors", seed.id)


@pytest.mark.parametrize(
    ("seed", "cause"),
    [
        (replace(gelu_seed(), tensors=(np.zeros((3, 2), ml_dtypes.bfloat16),)), "shapes"),
        (replace(gelu_seed(), tensors=(np.zeros((2, 3), np.float32),)), "dtypes"),
        (replace(gelu_seed(), tensors=()), "shapes"),
        (replace(gelu_seed(), tensors=gelu_seed().tensors * 2), "unexpected tensors"),
        (replace(gelu_seed(), sizes={"a": 2}), "sizes"),
        (replace(gelu_seed(), sizes={"a": 2, "b": 3, "c": 1}), "sizes"),
        (replace(gelu_seed(), sizes={"a": -2, "b": -3}), "sizes"),
        (replace(gelu_seed(), sizes={"a": 1 << 40, "b": 3}), "sizes"),
        (embedding_seed([0, 4]), "outside"),
        (embedding_seed([-1]), "outside"),
    ],
)
def test_what_does_not_fit_its_operator_is_refused(seed: Seed, cause: str, tmp_path: Path) -> None:
    save(seed, tmp_path / "s.safetensors")
    with pytest.raises(BadCorpus, match=cause) as caught:
        load(tmp_path / "s.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "python:os.system"},
        {"name": "aten.from_file.default"},
        {"name": "aten.add_.Tensor"},
        {"name": "aten.add.out"},
        {"name": "aten.add.Tensor_out"},
        {"name": "aten.__class__"},
        {"name": "aten.gelu"},
        {"name": "os.system.default"},
        {"name": "aten.gelu.default.more"},
        {"name": "aten.gelu.default\n"},
        {"args": ["/etc/passwd"]},
        {"args": ["x" * 40]},
        {"args": [{"type": "slot", "index": 1}]},
        {"args": [{"type": "slot", "index": -1}]},
        {"args": [{"type": "exec", "code": "1"}]},
        {"args": [{"type": "dtype", "name": "complex64"}]},
        {"args": [{"type": "float", "text": "1e9"}]},
        {"args": [[[[[[[1]]]]]]]},
        {"dtypes": ["object"]},
        {"dtypes": []},
        {"axes": [[{"type": "product", "axes": [], "constant": 1 << 60}]]},
        {"indexes": [{"slot": 5, "extent": {"type": "product", "axes": ["a"], "constant": 1}}]},
        {"axes": "a"},
        {"args": None},
    ],
)
def test_operators_from_files_are_plain_functional_aten(change: dict[str, Any]) -> None:
    data = msgspec.json.decode(encode_operator(GELU))
    assert revive_operator(data, "it") == GELU
    with pytest.raises(BadCorpus) as caught:
        revive_operator({**data, **change}, "it")
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadCorpus):
        revive_operator({**msgspec.json.decode(encode_operator(GELU)), "args": deep}, "it")


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "FORMAT", 99)
    save(gelu_seed(), tmp_path / "s.safetensors")
    monkeypatch.undo()
    with pytest.raises(BadCorpus, match="format 99"):
        load(tmp_path / "s.safetensors")


def test_a_file_of_tensors_without_a_seed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.safetensors").write_bytes(pack({"input0": np.zeros(3, np.float32)}))
    with pytest.raises(BadCorpus, match="note"):
        load(tmp_path / "s.safetensors")
