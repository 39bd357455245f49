"""`carve`: what is asked for is checked before torch is loaded, and what was carved is said in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapml_fuzz.carving.carve import CarveProgress, Summary
from tapml_fuzz.cli import carve as module
from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error E204: Missing argument 'MODEL'"),
        (["model"], "error E204: Missing option '--inputs'"),
        (["model", "--inputs", "absent.txt", "--output", "out"], "error E203: absent.txt is no file"),
        (["model", "--inputs", "x", "--output", "out", "--device", "tpu"], "error E204: Invalid value for '--device'"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], line: str, command: Command) -> None:
    done = command("carve", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_what_was_carved_and_what_not_is_said(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carve(model: str, texts: list[str], output: Path, device: str, progress: module._ProgressLine) -> Summary:
        assert (model, list(texts), device) == ("m", ["One.", "Two."], "cpu")
        for phase in ("load", "look", "look", "write"):
            progress(CarveProgress(phase, 1, 2))
        return Summary(model, output, 2, 1, 60, 3, 4, 500, 1.25, ("aten.rand: random",))

    monkeypatch.setattr("tapml_fuzz.carving.carve.carve", carve)
    (tmp_path / "text").write_text("One.\nTwo.\n")
    done = command("carve", "m", "--inputs", tmp_path / "text", "--output", tmp_path / "out")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"carved m: 3 operators, 4 seeds (500 input elements) from 60 calls on 2 sentences in 1.2 s -> {tmp_path}/out",
        "skipped aten.rand: random",
    ]
    assert done.err.splitlines() == ["loading", "profiling batches", "writing"]
