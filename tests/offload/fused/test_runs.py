"""Two compiled libraries: faults planted in one are pinned to the function that has them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tapml_fuzz.api.offload_libraries import LibraryOptions, offload_libraries, read_inputs
from tapml_fuzz.cli.main import main
from tapml_fuzz.core.errors import BadCorpus, BadInputs, BadLibrary, BadOption
from tapml_fuzz.offload.fused.call import Again, made
from tapml_fuzz.offload.fused.library import Library, LibraryCall
from tapml_fuzz.offload.fused.messages import Checked
from tapml_fuzz.offload.fused.process import Pair
from tapml_fuzz.offload.fused.report import LibrariesReport
from tapml_fuzz.offload.fused.runs import FusedRuns
from tapml_fuzz.offload.ledger import UnitResult
from tapml_fuzz.offload.walk import Settled
from tapml_fuzz.platforms.session.worker_process import environment
from tests.offload.fused.libraries import (
    FUNCTIONS,
    GELU,
    MAIN,
    MATMUL,
    SOFTMAX,
    changed,
    compiled,
    first_statement,
    inputs,
    module,
)
from tests.processes import alive, survivors


@pytest.fixture(scope="module")
def right() -> Any:
    return module()


@pytest.fixture(scope="module")
def a(right: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(right, tmp_path_factory.mktemp("a") / "a.so")


@pytest.fixture(scope="module")
def with_wrong_gelu(right: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wrong = changed(right, "T.float32(0.70710678118654757)", "T.float32(0.709)", GELU)
    return compiled(wrong, tmp_path_factory.mktemp("b") / "wrong.so")


def walked(a: Path, b: Path, output: Path, **options: Any) -> LibrariesReport:
    return offload_libraries(a, b, inputs(), LibraryOptions(main=MAIN, **options), output)


def by_name(report: LibrariesReport) -> dict[str, UnitResult]:
    return {unit.key: unit for unit in report.units}


def test_a_fault_is_pinned_to_its_function(a: Path, with_wrong_gelu: Path, tmp_path: Path) -> None:
    report = walked(a, with_wrong_gelu, tmp_path)
    units = by_name(report)
    assert units.keys() == FUNCTIONS
    assert {name for name, unit in units.items() if unit.status != "moved"} == {GELU}
    assert units[GELU].where == "alone"
    assert units[GELU].noticed
    assert "2 of its 2 calls" in units[GELU].reason
    assert report.final is not None
    assert not report.final.failed
    assert report.own_outside


def test_another_order_of_sums_is_no_fault(a: Path, right: Any, tmp_path: Path) -> None:
    report = walked(a, compiled(right, tmp_path / "fast.so", **{"fast-math": True}), tmp_path)
    assert {unit.status for unit in report.units} == {"moved"}
    assert report.final is not None
    assert 0 < report.final.worst.ratio < 0.5
    assert 0 < max(function.worst.ratio for function in report.functions) < 0.5
    assert report.own is not None
    assert report.own.identical
    assert report.notes == ()


def test_all_functions_of_b_give_what_b_gives(a: Path, with_wrong_gelu: Path) -> None:
    with Pair(a, with_wrong_gelu, MAIN, inputs()) as pair:
        assert {fact.name for fact in pair.survey()} == FUNCTIONS
        pair.check([])
        assert not pair.own().identical  # A's own result is another
        checked = pair.check(sorted(FUNCTIONS))
        assert max(value.ratio for value in checked.values) > 1
        assert pair.own().identical


def test_a_function_that_only_one_library_has(a: Path, right: Any, tmp_path: Path) -> None:
    text = right.script(show_meta=True).replace(SOFTMAX, "renamed")
    from tvm.script import from_source

    report = walked(a, compiled(from_source(text), tmp_path / "b.so"), tmp_path)
    units = by_name(report)
    assert units[SOFTMAX].status == "unsupported"
    assert units[SOFTMAX].reason == "b.so has no function of that name"
    assert {unit.status for name, unit in units.items() if name != SOFTMAX} == {"moved"}
    assert report.notes == (f"only a.so calls {SOFTMAX}", "only b.so calls renamed")


def test_signatures_that_differ(a: Path, tmp_path: Path) -> None:
    report = walked(a, compiled(module(hidden=16), tmp_path / "b.so"), tmp_path)
    assert {unit.status for unit in report.units} == {"unsupported"}
    assert all(unit.reason.startswith("the signatures differ: ") for unit in report.units)
    assert report.own is not None
    assert report.own.reason  # its main takes other shapes too


def test_the_libraries_process_ends_with_the_one_that_started_it(a: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tapml_fuzz.offload.fused.process import Pair\n"
        "from tests.offload.fused.libraries import MAIN, inputs\n"
        "a = Path(sys.argv[1]); pair = Pair(a, a, MAIN, inputs())\n"
        "print(pair._worker._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, a], stdout=subprocess.PIPE, env=environment())
    assert parent.stdout is not None
    with parent.stdout:
        worker = int(parent.stdout.readline())
    os.kill(worker, signal.SIGSTOP)  # as in compiled code: it does not see that its stream has ended
    parent.kill()
    parent.wait()
    try:
        assert survivors([worker], 5) == []
    finally:
        if alive(worker):
            os.kill(worker, signal.SIGKILL)


def test_a_crash_costs_one_function(a: Path, right: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = compiled(first_statement(right, SOFTMAX, 'T.evaluate(T.call_extern("int32", "abort"))'), tmp_path / "b.so")
    report = walked(a, b, tmp_path)
    units = by_name(report)
    assert (units[SOFTMAX].status, units[SOFTMAX].where) == ("blocked", "crash")
    assert "signal 6" in units[SOFTMAX].reason
    assert {unit.status for name, unit in units.items() if name != SOFTMAX} == {"moved"}
    assert report.final is not None
    assert report.own is None
    assert SOFTMAX in report.own_failure

    settled: list[Settled] = []

    def listen(event: object) -> None:
        if isinstance(event, Settled):
            settled.append(event)

    skipped: list[list[str]] = []
    survey = Pair.survey

    def spied(pair: Pair, skip: Sequence[str] = ()) -> Any:
        skipped.append(list(skip))
        return survey(pair, skip)

    monkeypatch.setattr(Pair, "survey", spied)
    again = offload_libraries(a, b, inputs(), LibraryOptions(main=MAIN, resume=True), tmp_path, listen)
    assert [event.resumed for event in settled] == [True] * len(FUNCTIONS)
    assert by_name(again) == units
    assert skipped == [[units[SOFTMAX].key]], "what has ended the process once is not called again"


def test_a_hang_costs_one_function(a: Path, right: Any, tmp_path: Path) -> None:
    b = compiled(first_statement(right, MATMUL, 'T.evaluate(T.call_extern("int32", "pause"))'), tmp_path / "b.so")
    with Pair(a, b, MAIN, inputs(), limit=10.0) as pair:
        facts = pair.survey()
        assert {fact.name for fact in facts if fact.seen == "skipped"} == {MATMUL}
        assert pair.died[MATMUL].where == "hang"
        assert {fact.seen for fact in facts if fact.name != MATMUL} == {"same"}


def test_elements_that_nobody_writes_and_inputs_that_somebody_does(a: Path, right: Any, tmp_path: Path) -> None:
    short = changed(right, "T.grid(T.int64(64), T.int64(32))", "T.grid(T.int64(64), T.int64(31))", "transpose1")
    wild = first_statement(short, SOFTMAX, "add1[T.int64(0), T.int64(0)] = T.float32(7)")
    with Pair(a, compiled(wild, tmp_path / "b.so"), MAIN, inputs()) as pair:
        failed = {fact.name: fact.reason for fact in pair.survey() if fact.seen == "failed"}
    assert failed == {
        "transpose1": "64 of 2048 elements of output 0 are never written",
        SOFTMAX: "it changes its argument 0, which A's function only reads",
    }


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("wrong", "right at first, then wrong"), ("raises", "out of luck"), ("writes", "it changes its argument 0")],
)
def test_a_function_that_is_wrong_at_some_runs_only(a: Path, fault: str, reason: str) -> None:
    class Flaky(Library):
        def function(self, name: str) -> Any:
            right, runs = super().function(name), iter(range(1000))

            def sometimes(*arguments: Any) -> None:
                right(*arguments)
                if next(runs) != 5:
                    return
                if fault == "raises":
                    raise RuntimeError("out of luck")
                target = arguments[0 if fault == "writes" else -1]
                target.copyfrom(target.numpy() * np.float32(1.01))

            return sometimes if name == SOFTMAX else right

    runs = FusedRuns(Library(a, MAIN), Flaky(a, MAIN), inputs(), lambda calling: None)
    failed = {fact.name: fact.reason for fact in runs.survey(frozenset()).calls if fact.seen == "failed"}
    assert failed.keys() == {SOFTMAX}
    assert reason in failed[SOFTMAX]


def test_a_slow_function_runs_once_for_each_call(a: Path) -> None:
    class Slow(Library):
        def function(self, name: str) -> Any:
            right = super().function(name)

            def slowly(*arguments: Any) -> None:
                ran.append(name)
                time.sleep(0.6)
                right(*arguments)

            return slowly if name == SOFTMAX else right

    ran: list[str] = []
    runs = FusedRuns(Library(a, MAIN), Slow(a, MAIN), inputs(), lambda calling: None)
    calls = sum(fact.name == SOFTMAX for fact in runs.survey(frozenset()).calls)
    assert calls + 1 == len(ran), "once more after the first, then the second is over"


def test_another_device_gets_copies(a: Path, with_wrong_gelu: Path) -> None:
    import tvm

    checked = []
    for device in (tvm.cpu(0), tvm.cpu(1)):  # two names of one device, between which tensors are copied all the same
        b = Library(with_wrong_gelu, MAIN)
        b.device = device
        runs = FusedRuns(Library(a, MAIN), b, inputs(), lambda calling: None)
        facts = runs.survey(frozenset()).calls
        assert {fact.name for fact in facts if fact.seen == "failed"} == {GELU}
        checked.append(runs.check(frozenset(FUNCTIONS)))
    assert isinstance(checked[0], Checked)
    assert checked[0].values == checked[1].values
    assert max(value.ratio for value in checked[0].values) > 1


def test_what_a_call_changes_in_place_is_an_output(a: Path) -> None:
    import tvm

    def accumulate(x: Any, total: Any, result: Any) -> None:
        total.copyfrom(total.numpy() + x.numpy())
        result.copyfrom(2 * total.numpy())

    x, total, result = (tvm.runtime.tensor(np.full(3, n, np.float32)) for n in (1, 10, 0))
    library = Library(a, MAIN)
    done = made(library, LibraryCall(0, "accumulate", accumulate, (x, total, result), frozenset({2})))
    assert {position: array.tolist() for position, array in done.outputs.items()} == {1: [11] * 3, 2: [22] * 3}
    # Made again, it begins with what was there before.
    assert [array.tolist() for array in Again(library, accumulate, done).checked()] == [[11] * 3, [22] * 3]


def test_what_cannot_be_run_is_said_in_one_line(a: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    with pytest.raises(BadLibrary, match=r"text\.so cannot be loaded"):
        Pair(a, text, MAIN, inputs())
    with pytest.raises(BadLibrary, match=r"absent\.so is no file"):
        Pair(a, tmp_path / "absent.so", MAIN, inputs())
    with pytest.raises(BadLibrary, match="has no function 'nothing'"):
        Pair(a, a, "nothing", inputs())
    with pytest.raises(BadInputs, match="no input for x"):
        Pair(a, a, MAIN, {name: array for name, array in inputs().items() if name != "x"})
    with pytest.raises(BadOption, match="the same file"):
        walked(a, a, tmp_path)
    narrow = {**inputs(), "x": np.zeros((8, 3), np.float32)}
    with Pair(a, a, MAIN, narrow) as pair, pytest.raises(BadLibrary, match=r"a\.so does not run on these inputs"):
        pair.survey()


def test_the_command(a: Path, with_wrong_gelu: Path, tmp_path: Path) -> None:
    given = tmp_path / "inputs.safetensors"
    safetensors.numpy.save_file(inputs(), given)
    own = [str(a), str(with_wrong_gelu), "--inputs", str(given), "--main", MAIN, "--output", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        main(["offload", "libraries", *own, "--json", str(tmp_path / "walk.json")])
    assert stop.value.code == 1
    summary = json.loads((tmp_path / "walk.json").read_text())
    assert [u["key"] for u in summary["units"] if u["status"] == "blocked"] == [GELU]


def test_inputs_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "inputs.safetensors"
    safetensors.numpy.save_file(inputs(), path)
    read = read_inputs(path)
    assert read.keys() == inputs().keys()
    assert all(np.array_equal(read[name], array) for name, array in inputs().items())
    path.write_bytes(b"nothing")
    with pytest.raises(BadInputs, match=r"inputs\.safetensors"):
        read_inputs(path)
    with pytest.raises(BadCorpus):
        read_inputs(tmp_path / "absent")
