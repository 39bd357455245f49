"""`run`: what is asked for is checked first, and what came of it decides the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapml_fuzz.cli.run import exit_code
from tapml_fuzz.core.errors import NothingRan
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.engine.budget import Budget
from tests.cli.conftest import Command
from tests.summaries import entry, run_summary

BUDGET = Budget.parse("60s")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--budget", "soon"], "error E204: "),
        (["--platform", "tvm-lllvm"], "error E102: unknown platform 'tvm-lllvm'"),
        (["--platform", "user:absent.cl"], "error E206: there is no file absent.cl"),
        (["--operator", "nosuchoperator"], "error E101: "),
        (["--corpus", "absent"], "error E201: no corpus at absent"),
        (["--json", "absent/out.json"], "error E204: --json absent/out.json cannot be written"),
        (["--workers", "0"], "error E204: Invalid value for '--workers'"),
        (["softmax"], "error E204: Got unexpected extra argument (softmax)"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], line: str, command: Command) -> None:
    done = command("run", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 1),
        ({"findings": ()}, 0),
        ({"findings": (entry(new=False),)}, 0),
        ({"findings": (entry(kind="permitted"),)}, 0),
        ({"findings": (entry(kind="permitted"), entry(kind="reference-suspect"))}, 1),
        ({"interrupted": True}, 130),
        ({"trials": 0, "findings": (), "interrupted": True}, 130),
    ],
)
def test_exit_code(changes: dict[str, Any], code: int) -> None:
    assert exit_code(run_summary(**changes), BUDGET) == code


def test_a_run_without_a_trial_is_an_error_that_says_why() -> None:
    with pytest.raises(NothingRan, match=r"60s ended before the first case was ready \(give a longer --budget\)"):
        exit_code(run_summary(trials=0, cases=0, findings=()), BUDGET)


@pytest.fixture
def conducted(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunSummary], list[Any]]:
    """Has `run` conduct no campaign but come to a summary; gives what it would have conducted it with."""

    def come_to(summary: RunSummary) -> list[Any]:
        from tapml_fuzz.cli import campaign

        asked: list[Any] = []

        def conduct(*arguments: Any) -> RunSummary:
            asked.extend(arguments)
            return summary

        monkeypatch.setattr(campaign, "conduct", conduct)
        return asked

    return come_to


def test_options_reach_the_campaign(
    conducted: Callable[[RunSummary], list[Any]], command: Command, tmp_path: Path
) -> None:
    asked = conducted(run_summary())
    own = ["--platform", "tvm-llvm", "--operator", "tanh", "--budget", "9trials", "--seed", 7, "--workers", 2]
    done = command("run", *own, "--output", tmp_path, "--json", tmp_path / "out.json")
    assert done.code == 1
    seed_sets, platforms, options, output, _ = asked
    assert [s.operator.short_name for s in seed_sets.values()] == ["tanh"]
    assert (platforms, output) == (("tvm-llvm",), tmp_path)
    assert (options.budget.text, options.seed, options.workers) == ("9trials", 7, 2)
    assert json.loads((tmp_path / "out.json").read_text())["trials"] == 10
    assert f"report: {tmp_path / 'report.md'}" in done.out
    assert done.out.rstrip().endswith(f"findings list --output {tmp_path}")


def test_json_alone_goes_to_standard_output(conducted: Callable[[RunSummary], list[Any]], command: Command) -> None:
    conducted(run_summary(findings=()))
    done = command("run", "--operator", "tanh", "--json", "-")
    assert done.code == 0
    assert json.loads(done.out)["trials"] == 10
    assert "report:" in done.err


@pytest.mark.parametrize("arguments", [["--budget", "soon"], ["--platform", "x"], ["--operator", "x"]])
def test_what_makes_no_sense_is_said_before_anything_heavy_is_imported(arguments: list[str]) -> None:
    program = (
        "import sys; from tapml_fuzz.cli.main import _run; _run(['run', *sys.argv[1:]], False)\n"
        "print([m for m in ('torch', 'tvm', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
