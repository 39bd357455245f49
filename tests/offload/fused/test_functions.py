"""Fused mode's walk, on libraries that are only told of; and what inputs it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy

from tapml_fuzz.api import offload_libraries as offloading_libraries
from tapml_fuzz.api.offload_libraries import read_inputs
from tapml_fuzz.core.errors import BadCorpus, BadInputs
from tapml_fuzz.offload.fused.functions import Fused, FusedFunction
from tapml_fuzz.offload.ledger import FORMAT, Ledger, Walk
from tapml_fuzz.offload.walk import Walker

NAMES = ("first", "second", "third")


class Told:
    """Two libraries whose functions are each right alone; `first` and `third` of B do not go together."""

    def __init__(self) -> None:
        self.died: dict[str, Any] = {}
        self.facts = [
            SimpleNamespace(number=n, name=name, seen="same", reason="", ratio=0.1, shapes="", elements=1)
            for n, name in enumerate(NAMES)
        ]
        self.checked: list[tuple[str, ...]] = []

    def check(self, moved: Sequence[str]) -> Any:
        self.checked.append(tuple(moved))
        ratio = 9.0 if {"first", "third"} <= set(moved) else 0.1
        values = [
            SimpleNamespace(number=n, name=name, output=0, ratio=ratio if name == "third" else 0.1)
            for n, name in enumerate(NAMES)
        ]
        return SimpleNamespace(values=values, view=None)


def walked(told: Told, folder: Path, *, resume: bool = False) -> list[Any]:
    ledger = Ledger(folder)
    ledger.begin(Walk(FORMAT, "a.so", "0", "a.so", "b.so", {}), resume=resume)
    model = Fused(cast(Any, told), "b.so")
    walker: Walker[FusedFunction] = Walker(model, "b.so", ledger, model.alone)
    return walker.walk([FusedFunction(fact.name, (cast(Any, fact),)) for fact in told.facts])


def test_functions_that_fail_only_together_are_named_together(tmp_path: Path) -> None:
    first, second, third = walked(Told(), tmp_path)
    assert (first.status, second.status) == ("moved", "moved")
    assert (third.status, third.where, third.partners) == ("blocked", "model", ("first",))
    assert "third#2" in third.reason


def test_a_resumed_walk_runs_nothing_that_is_settled(tmp_path: Path) -> None:
    before = walked(Told(), tmp_path)
    told = Told()
    assert walked(told, tmp_path, resume=True) == before
    assert told.checked == []


def test_inputs_beyond_the_bound_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "inputs.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(8, np.float32)}, path)
    size = path.stat().st_size
    monkeypatch.setattr(offloading_libraries, "_MAX_INPUTS", size)
    assert read_inputs(path).keys() == {"x"}
    monkeypatch.setattr(offloading_libraries, "_MAX_INPUTS", size - 1)
    with pytest.raises(BadCorpus, match=f"more than {size - 1}"):
        read_inputs(path)


def test_inputs_of_an_unknown_dtype_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "inputs.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(8, np.uint64)}, path)
    with pytest.raises(BadInputs, match="'x' is uint64"):
        read_inputs(path)
