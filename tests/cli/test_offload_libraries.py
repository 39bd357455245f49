"""`offload libraries`: checked first; what is not as right in B makes the exit code 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tapml_fuzz.core.walk_summary import View
from tapml_fuzz.offload.fused.messages import FusedValue, OwnRun
from tapml_fuzz.offload.fused.report import LibrariesReport
from tapml_fuzz.offload.ledger import FORMAT, UnitResult, Walk
from tapml_fuzz.offload.subject import Grown, ModelCheck
from tests.cli.conftest import Command

MOVED = UnitResult("f", "f", 2, "moved", worst=0.5)
WALK = Walk(FORMAT, "a.so", "0", "a.so", "b.so", {})
RIGHT = ModelCheck((Grown("f#0", "call 0", "f", "f#0:0", 0.5),), View(1.0), ())
REPORT = LibrariesReport(
    walk=WALK, units=(MOVED,), final=RIGHT, failure="", seconds=1.0, functions=(), only_in_a=(), only_in_b=(),
    devices=("cpu", "cpu"), own=OwnRun(("f",), (FusedValue(-1, "main", 0, 0.5),), View(1.0), True), own_failure="",
)  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    safetensors.numpy.save_file({"x": np.zeros(2, np.float32)}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a.so"], "error E204: Missing argument 'B'"),
        (["a.so", "b.so"], "error E204: Missing option '--inputs'"),
        (["a.so", "b.so", "--inputs", "x", "--to", "tvm-llvm"], "error E204: No such option '--to'"),
        (["a.so", "b.so", "--inputs", "x", "--steps", "3"], "error E204: No such option '--steps'"),
        (["a.so", "b.so", "--inputs", "absent"], "error E201: absent"),
        (["a.so", "b.so", "--inputs", __file__], f"error E203: {__file__}: "),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], line: str, command: Command) -> None:
    done = command("offload", "libraries", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "code", "last"),
    [
        ({}, 0, "with them, the worst value is f#0:0 at 0.5 of what is allowed"),
        ({"units": (UnitResult("f", "f", 2, "blocked", "alone", "wrong"),)}, 1, "with them, the worst value is "),
        ({"only_in_b": ("g",)}, 1, "with them, the worst value is "),
        ({"final": None, "failure": "it is gone"}, 1, "with them, a.so does not run: it is gone"),
    ],
)
def test_what_is_not_as_right_decides(
    changes: dict[str, Any], code: int, last: str, inputs: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[Any] = []

    def offload_libraries(*arguments: Any) -> LibrariesReport:
        asked.extend(arguments)
        return replace(REPORT, **changes)

    monkeypatch.setattr("tapml_fuzz.api.offload_libraries.offload_libraries", offload_libraries)
    own = ["a.so", "b.so", "--inputs", inputs, "--main", "prefill", "--order", "graph", "--resume"]
    done = command("offload", "libraries", *own, "--output", tmp_path / "out", "--json", tmp_path / "w.json")
    assert done.code == code
    a, b, given, options, output, _ = asked
    assert (a, b, list(given), output) == (Path("a.so"), Path("b.so"), ["x"], tmp_path / "out")
    assert (options.main, options.order, options.resume) == ("prefill", "graph", True)
    *_, said, summary = done.out.splitlines()
    assert said.startswith(last)
    assert summary == f"summary: {tmp_path / 'out' / 'offload.json'}"
    assert json.loads((tmp_path / "w.json").read_text())["task"] == "libraries"
