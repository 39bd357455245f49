"""What a worker's death, silence or refusal becomes, and that nothing else is lost by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.errors import UnknownPlatform
from tapml_fuzz.core.outcome import (
    BuildError,
    Built,
    Crash,
    Ok,
    RunError,
    RunOutcome,
    Timeout,
    Unreachable,
    Unsupported,
)
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.worker_process import environment
from tests.platforms.fakes import WHERE, Absent, Exploding, LosingDevice, Refusing, Static, Stubborn
from tests.platforms.operators import SUB, Product, aten, case, clone
from tests.processes import alive, survivors

_SIZES = {"a": 2, "b": 3}


def isolated(kind: str, **options: float) -> WorkerSession:
    return WorkerSession("fake", where=WHERE + kind, **options)  # type: ignore[arg-type]


def filled(value: float) -> Case:
    return Case(clone(), _SIZES, (np.full((2, 3), value, np.float32),))


def assert_echo(outcome: RunOutcome, value: float) -> None:
    assert isinstance(outcome, Ok), outcome
    assert (outcome.outputs[0] == value).all()


def test_crash_is_contained_and_the_worker_comes_back() -> None:
    with isolated("Crashing") as session:
        assert_echo(session.run(filled(1)), 1)
        crash = session.run(filled(13))
        assert isinstance(crash, Crash)
        assert crash.exit_code == -signal.SIGSEGV
        assert crash.stderr.rstrip().endswith("last words")
        assert len(crash.stderr) <= 8192
        assert_echo(session.run(filled(2)), 2)
        assert session.restarts == 1


def test_hang_is_killed_in_time() -> None:
    with isolated("Hanging", run_timeout=0.5) as session:
        assert_echo(session.run(filled(1)), 1)
        started = time.monotonic()
        assert session.run(filled(13)) == Timeout(0.5)
        assert time.monotonic() - started < 2
        assert_echo(session.run(filled(2)), 2)


def test_lost_device_costs_the_worker() -> None:
    with isolated("LosingDevice") as session:
        outcome = session.run(filled(13))
        assert isinstance(outcome, RunError)
        assert "device-side assert" in outcome.message
        assert_echo(session.run(filled(1)), 1)
        assert session.restarts == 1


def test_machine_that_goes_away_is_no_fault_and_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = tmp_path / "away"
    monkeypatch.setenv("TAPML_FUZZ_TEST_AWAY", str(away))
    with WorkerSession("fake@rpc://127.0.0.1:1", where=WHERE + "Leaving") as session:
        assert_echo(session.run(filled(1)), 1)
        away.touch()
        assert session.run(filled(13)) == Unreachable("lost the connection")
        assert session.run(filled(1)) == Unreachable("lost the connection"), "waited for the worker that tries again"
        deadline = time.monotonic() + 30
        while (outcome := session.run(filled(1))) != Unreachable("nothing answers"):
            assert isinstance(outcome, Unreachable)
            assert time.monotonic() < deadline
        # It is asked again in its own time; nobody waits for it.
        began = time.monotonic()
        assert all(isinstance(session.run(filled(1)), Unreachable) for _ in range(100))
        assert time.monotonic() - began < 1
        away.unlink()
        while isinstance(outcome := session.run(filled(1)), Unreachable):
            assert time.monotonic() < deadline + 30
            time.sleep(0.02)
        assert_echo(outcome, 1)


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGKILL, 7])
def test_end_of_a_worker_elsewhere_is_the_same_crash_here(code: int) -> None:
    with isolated("EndingLike") as session:
        assert session.run(filled(code)) == Crash(code, "words from far away\n")


def test_worker_is_replaced_before_it_grows_old() -> None:
    with isolated("Echo", runs_per_worker=3) as session:
        for value in range(7):
            assert_echo(session.run(filled(value)), value)
        assert session.restarts == 2


def test_worker_is_replaced_when_it_grows_big() -> None:
    with isolated("Echo", resident_limit=1) as session:
        for value in range(20):
            assert_echo(session.run(filled(value)), value)
        assert session.restarts == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("BuildCrashing", Crash(7, "")), ("BuildHanging", Timeout(0.5))],
)
def test_build_that_takes_the_worker_along_is_remembered(kind: str, expected: RunOutcome) -> None:
    with isolated(kind, build_timeout=0.5) as session:
        assert session.run(filled(1)) == expected
        restarts = session.restarts
        assert session.run(filled(2)) == expected  # from memory: no further worker dies
        assert session.restarts == restarts


def test_refused_build_carries_the_source_and_is_remembered() -> None:
    with isolated("Refusing") as session:
        outcome = session.run(filled(1))
        assert outcome == BuildError("line 3: no such type", "kernel source")
        assert outcome == session.run(filled(2))
        assert session.builds == 0


def test_only_axes_that_must_be_fixed_are() -> None:
    with isolated("Static") as session:
        for a, b in ((2, 3), (4, 3), (5, 3), (5, 4)):
            given = case(clone(), a=a, b=b)
            outcome = session.run(given)
            assert isinstance(outcome, Ok)
            np.testing.assert_array_equal(outcome.outputs[0], given.tensors[0])
        assert session.builds == 2  # one for b=3, one for b=4; `a` stays open


def test_platform_that_always_wants_sizes_is_at_fault() -> None:
    with isolated("Stubborn") as session:
        assert isinstance(session.run(filled(1)), BuildError)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Absent", "no such device"),
        ("Exploding", "libnothing.so"),
        ("DyingAtStart", f"status {-signal.SIGABRT} while starting: driver says no"),
        ("NoSuchClass", "NoSuchClass"),
    ],
)
def test_unavailable_platform_says_why(kind: str, reason: str) -> None:
    with isolated(kind) as session:
        info = session.info()
        assert not info.available
        assert reason in info.reason
        outcome = session.run(filled(1))
        assert isinstance(outcome, Unsupported)
        assert reason in outcome.reason


def test_slow_start_is_given_up() -> None:
    with isolated("Echo", start_timeout=0.05) as session:
        assert "did not start within 0.05 s" in session.info().reason


def test_two_workers_at_once() -> None:
    with isolated("Echo") as first, isolated("Crashing") as second:
        first.start()
        second.start()
        assert_echo(first.run(filled(1)), 1)
        assert isinstance(second.run(filled(13)), Crash)
        assert_echo(first.run(filled(2)), 2)
        assert_echo(second.run(filled(3)), 3)


def test_session_can_be_used_again_after_close() -> None:
    session = isolated("Echo")
    assert_echo(session.run(filled(1)), 1)
    session.close()
    assert_echo(session.run(filled(2)), 2)
    session.close()
    session.close()


@pytest.mark.parametrize("busy", [False, True])
def test_worker_ends_with_its_parent(busy: bool) -> None:
    """A parent that is killed outright leaves no worker behind, not even one that is stuck in native code."""
    command = [sys.executable, "-c", _PARENT, str(int(busy))]
    parent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
    worker = int(parent.stdout)
    try:
        assert survivors([worker], 5) == []
    finally:
        if alive(worker):
            os.kill(worker, signal.SIGKILL)


_PARENT = """
import os, signal, sys, threading, time
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.fakes import WHERE
from tests.platforms.operators import clone, case
session = WorkerSession("fake", where=WHERE + "Stuck", run_timeout=60)
session.info()
print(session._worker._process.pid, flush=True)
if int(sys.argv[1]):
    threading.Thread(target=session.run, args=(case(clone(), a=2, b=3),), daemon=True).start()
    while not session._runs and not session.builds:
        time.sleep(0.01)
    time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def torch_cpu() -> Iterator[WorkerSession]:
    with WorkerSession("torch-cpu") as session:
        yield session


def test_mutated_input_is_seen(torch_cpu: WorkerSession) -> None:
    in_place = aten("add_.Tensor", *[[*SUB.args], SUB.axes])
    outcome = torch_cpu.run(case(in_place, a=4, b=5))
    assert isinstance(outcome, Ok)
    assert outcome.mutated == (0,)
    assert outcome.aliased == (0,)


def test_view_is_seen_and_detached(torch_cpu: WorkerSession) -> None:
    view = aten("unsqueeze.default", [SUB.args[0], 0], [SUB.axes[0]])
    outcome = torch_cpu.run(case(view, a=4, b=5))
    assert isinstance(outcome, Ok)
    assert outcome.aliased == (0,)
    assert outcome.mutated == ()


def test_exception_of_the_operator_is_a_run_error(torch_cpu: WorkerSession) -> None:
    bad = Case(SUB, _SIZES, (np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32)))
    outcome = torch_cpu.run(bad)
    assert isinstance(outcome, RunError)
    assert "must match" in outcome.message


def test_eager_platform_compiles_nothing(torch_cpu: WorkerSession) -> None:
    torch_cpu.run(case(SUB, a=1, b=2))
    assert torch_cpu.builds == 0


def test_unknown_platform_names_close_matches() -> None:
    with pytest.raises(UnknownPlatform, match="did you mean tvm-llvm"):
        WorkerSession("tvm-lvm")


@pytest.mark.parametrize(
    ("platform", "expected"), [(Refusing(), BuildError), (Stubborn(), BuildError), (Absent(), Unsupported)]
)
def test_local_twin_reports_alike(platform: Refusing, expected: type) -> None:
    with InProcessSession(platform) as session:
        assert isinstance(session.run(filled(1)), expected)


def test_local_twin_runs_and_survives_exceptions() -> None:
    with InProcessSession(LosingDevice()) as session:
        assert isinstance(session.run(filled(13)), RunError)
        assert_echo(session.run(filled(1)), 1)
    with InProcessSession(Static()) as session:
        built = session.build(clone(), ("float32",), _SIZES)
        assert isinstance(built, Built)
        assert built.symbolic
    with InProcessSession(Exploding()) as session:
        assert "libnothing.so" in session.info().reason


def test_layout_reaches_torch_as_strides(torch_cpu: WorkerSession) -> None:
    """A view that merges axes is possible on a packed tensor only, so torch says what it was given."""
    merge = aten("view.default", [SUB.args[0], [Product(("a", "b"))]], [SUB.axes[0]])
    assert isinstance(torch_cpu.run(case(merge, a=4, b=5)), Ok)
    outcome = torch_cpu.run(case(merge, layout="transposed", a=4, b=5))
    assert isinstance(outcome, RunError)
    assert "stride" in outcome.message
