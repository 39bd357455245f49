"""`offload model`: checked first, then run in a process that another one watches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from tapml_fuzz.cli.main import cli
from tapml_fuzz.cli.offload_model import model
from tests.cli.conftest import Command


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text file.txt"
    path.write_text("One sentence.\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error E204: Missing argument 'MODEL'"),
        (["m"], "error E204: Missing option '--inputs'"),
        (["m", "--inputs", "absent.txt"], "error E204: Missing option '--to'"),
        (["m", "--inputs", "absent.txt", "--to", "tvm-llvm"], "error E203: absent.txt is no file"),
        (["m", "--inputs", "absent.txt", "--to", "tvm-lvm"], "error E102: unknown platform 'tvm-lvm'"),
        (["m", "--inputs", "absent.txt", "--to", "tvm-llvm", "--main", "f"], "error E204: No such option '--main'"),
        (["m", "n", "--inputs", "absent.txt", "--to", "tvm-llvm"], "error E204: Got unexpected extra argument (n)"),
        (["m", "--inputs", "x", "--to", "tvm-llvm", "--batches", "0"], "error E204: Invalid value for '--batches'"),
        (["m", "--inputs", "x", "--to", "tvm-llvm", "--fuzz", "soon"], "error E204: "),
        (["m", "--inputs", "x", "--to", "tvm-llvm", "--fuzz", "9trials"], "error E204: --fuzz 9trials is no time"),
        (["m", "--inputs", "x", "--to", "tvm-llvm", "--json", "-"], "error E204: --json - cannot be written"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], line: str, command: Command) -> None:
    done = command("offload", "model", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the walk would be run with first, and again."""
    commands: list[list[str]] = []

    def supervise(first: Sequence[str], again: Sequence[str], *_: Any, **__: Any) -> int:
        commands.extend((list(first), list(again)))
        return 1

    monkeypatch.setattr("tapml_fuzz.offload.supervise.supervise", supervise)
    return commands


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What `offload model` makes of a command line, without running it."""
    assert arguments[:5] == [sys.executable, "-m", "tapml_fuzz", "offload", "model"]
    return model.make_context("model", list(arguments[5:]), parent=click.Context(cli)).params


def test_the_walk_runs_with_every_option_in_a_process_of_its_own(
    supervised: list[list[str]], text: Path, command: Command, tmp_path: Path
) -> None:
    own = ["m", "--inputs", text, "--to", "tvm-llvm", "--from", "torch-cuda", "--order", "graph", "--fuzz", "5s"]
    own += ["--batches", 3, "--steps", 4, "--output", tmp_path / "out", "--json", tmp_path / "w.json"]
    assert command("offload", "model", *own).code == 1
    first, again = map(parsed, supervised)
    given = parsed([sys.executable, "-m", "tapml_fuzz", "offload", "model", *map(str, own)])
    assert first == {**given, "unsupervised": True}
    assert again == {**given, "unsupervised": True, "resume": True}


def test_a_walk_that_is_resumed_is_from_the_beginning(
    supervised: list[list[str]], text: Path, command: Command
) -> None:
    command("offload", "model", "m", "--inputs", text, "--to", "tvm-llvm", "--resume")
    assert [parsed(each)["resume"] for each in supervised] == [True, True]


def test_no_option_is_forgotten_on_the_way(supervised: list[list[str]], text: Path, command: Command) -> None:
    """Every option but the two that it sets itself is in the command line of the walk, or is not given."""
    command("offload", "model", "m", "--inputs", text, "--to", "tvm-llvm")
    names = {name for p in model.params if isinstance(p, click.Option) for name in p.opts}
    assert names - set(supervised[0]) == {"--resume", "--json"}


def test_events_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    from tapml_fuzz.api.offload_model import Preparing
    from tapml_fuzz.cli.offload_model import _listen
    from tapml_fuzz.core.events import FindingFound
    from tests.summaries import entry

    _listen(Preparing("recording"))
    _listen(FindingFound(entry()))
    assert capsys.readouterr().out.splitlines() == [
        "recording",
        "found    tanh-echo-wrong-00000000: output 0, element 0: 1, expected 2",
    ]
