"""The ledger survives kills, and the supervisor survives what kills a walk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tapml_fuzz.core.errors import BadOption, MachineryFailure
from tapml_fuzz.offload.ledger import FORMAT, Ledger, Trying, UnitResult, Walk
from tapml_fuzz.offload.supervise import supervise

WALK = Walk(FORMAT, "model", "digest", "torch-cpu", "tvm-llvm", {"tvm": "1"})
MOVED = UnitResult("a-1", "a()", 3, "moved")


def begun(folder: Path, *lines: Trying | UnitResult) -> Ledger:
    ledger = Ledger(folder)
    ledger.begin(WALK, resume=False)
    for line in lines:
        ledger.add(line)
    return ledger


def test_results_come_back_and_a_line_cut_short_does_not(tmp_path: Path) -> None:
    ledger = begun(tmp_path, MOVED, Trying("b-2"))
    with ledger.path.open("ab") as file:
        file.write(b'{"type":"unit","key":"b-2","oper')
    again = Ledger(tmp_path)
    assert again.begin(WALK, resume=True)
    assert again.results == {"a-1": MOVED}
    assert again.deaths == {}, "whoever was killed is no suspect"
    again.add(UnitResult("b-2", "b()", 1, "moved"))
    third = Ledger(tmp_path)
    assert third.begin(WALK, resume=True)
    assert set(third.results) == {"a-1", "b-2"}


def test_what_runs_now_is_read_from_whole_lines_of_our_own(tmp_path: Path) -> None:
    assert Ledger(tmp_path).trying() == ""
    ledger = begun(tmp_path, MOVED, Trying("b-2"))
    assert ledger.trying() == "b-2"
    with ledger.path.open("ab") as file:
        file.write(b'{"type":"unit"')
    assert ledger.trying() == "b-2"
    ledger.path.write_bytes(b"of another version\n")
    assert ledger.trying() == ""


def test_another_compiler_begins_anew_and_another_model_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, MOVED)
    with pytest.raises(BadOption, match="something else"):
        Ledger(tmp_path).begin(Walk(FORMAT, "model", "other", "torch-cpu", "tvm-llvm", {}), resume=True)
    ledger = Ledger(tmp_path)
    assert not ledger.begin(Walk(FORMAT, "model", "digest", "torch-cpu", "tvm-llvm", {"tvm": "2"}), resume=True)
    assert ledger.results == {}


@pytest.mark.parametrize("raw", [b"not json\n", b'{"type":"unit"}\n', b"\xff\xfe\n", b'{"type":"what","key":1}\n'])
def test_a_broken_ledger_is_named(tmp_path: Path, raw: bytes) -> None:
    ledger = begun(tmp_path)
    ledger.path.write_bytes(ledger.path.read_bytes() + raw)
    with pytest.raises(BadOption, match="line 2"):
        Ledger(tmp_path).begin(WALK, resume=True)


def python(code: str, folder: Path) -> list[str]:
    """A command that runs `code` beside a ledger in `folder`, as a walk's process would."""
    head = (
        "import os, signal, time; from pathlib import Path; from tapml_fuzz.offload.ledger import *; "
        f"ledger = Ledger(Path({str(folder)!r}))\n"
    )
    return [sys.executable, "-c", head + code]


def test_a_unit_that_ends_the_process_twice_is_dead_and_the_walk_goes_on(tmp_path: Path) -> None:
    begun(tmp_path)
    dies = "ledger.add(Trying('b-2')); os.kill(os.getpid(), signal.SIGSEGV)"
    told: list[str] = []
    # The third time it finds the death in the ledger, as a walk does.
    again = python(f"if b'died' in ledger.path.read_bytes(): raise SystemExit(1)\n{dies}", tmp_path)
    assert supervise(python(dies, tmp_path), again, Ledger(tmp_path), limit=60, say=told.append) == 1
    ledger = Ledger(tmp_path)
    assert ledger.begin(WALK, resume=True)
    assert ledger.deaths["b-2"].where == "crash"
    assert "signal 11" in ledger.deaths["b-2"].reason
    assert len(told) == 2


def test_a_unit_that_never_returns(tmp_path: Path) -> None:
    begun(tmp_path)
    hangs = "ledger.add(Trying('b-2')); time.sleep(600)"
    again = python(f"if b'died' in ledger.path.read_bytes(): raise SystemExit(0)\n{hangs}", tmp_path)
    assert supervise(python(hangs, tmp_path), again, Ledger(tmp_path), limit=1.0) == 0
    ledger = Ledger(tmp_path)
    ledger.begin(WALK, resume=True)
    assert ledger.deaths["b-2"].where == "hang"


def test_a_process_that_dies_between_units_is_our_failure(tmp_path: Path) -> None:
    begun(tmp_path, MOVED)
    dies = python("os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    with pytest.raises(MachineryFailure):
        supervise(dies, dies, Ledger(tmp_path), limit=60)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_a_walk_that_ends_by_itself_is_not_run_again(tmp_path: Path, code: int) -> None:
    begun(tmp_path)
    command = python(f"raise SystemExit({code})", tmp_path)
    assert supervise(command, [sys.executable, "-c", "raise SystemExit(77)"], Ledger(tmp_path), limit=60) == code
