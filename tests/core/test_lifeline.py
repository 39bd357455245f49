"""Processes that end with the one that started them: real ones, killed outright."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tapml_fuzz.core import lifeline
from tests.processes import alive, survivors

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

_PROGRAM = "from tapml_fuzz.core import lifeline; import ctypes, fcntl, os, sys, time\n"
# Native code that keeps the interpreter lock, so that no Python thread of the process runs meanwhile.
_LOCKED = "ctypes.PyDLL(None).sleep(60)"
_IDLE = "time.sleep(60)"


def _program(*lines: str) -> list[str]:
    return [sys.executable, "-c", _PROGRAM + "\n".join(lines)]


def _says_its_id(rest: str) -> tuple[str, ...]:
    return ("lifeline.hold()", "print(os.getpid(), flush=True)", rest)


def _starts(command: list[str], rest: str) -> tuple[str, ...]:
    return (f"kept = lifeline.started({command!r})", rest)


@pytest.mark.parametrize(
    ("before", "busy"),
    [("", _IDLE), ("", _LOCKED), ("del fcntl.F_SETSIG", _IDLE)],
    ids=["idle", "in native code with the interpreter lock", "idle, where the kernel does not kill"],
)
def test_child_and_grandchild_end_with_a_killed_parent(before: str, busy: str) -> None:
    grandchild = _program(before, *_says_its_id(busy))
    child = _program(before, *_says_its_id(_starts(grandchild, busy)[0]), busy)
    parent = subprocess.Popen(_program(*_starts(child, _IDLE)), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        family = [int(parent.stdout.readline()) for _ in range(2)]
        try:
            assert survivors(family, 0.5) == family
            parent.send_signal(signal.SIGKILL)
            assert parent.wait() == -signal.SIGKILL
            assert survivors(family, 5) == []
        finally:
            parent.kill()
            for process in filter(alive, family):
                os.kill(process, signal.SIGKILL)


def test_child_whose_parent_was_killed_before_it_held_on_ends_when_it_does(tmp_path: Path) -> None:
    orphaned = "while os.getppid() == parent: time.sleep(0.01)"
    child = _program("parent = os.getppid()", "print(os.getpid(), flush=True)", orphaned, "lifeline.hold()", _IDLE)
    parent = subprocess.Popen(_program(*_starts(child, _IDLE)), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        process = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        assert survivors([process], 5) == []
    finally:
        if alive(process):
            os.kill(process, signal.SIGKILL)


def test_child_outlives_the_thread_that_started_it() -> None:
    started: list[subprocess.Popen[bytes]] = []
    command = _program(*_says_its_id(_IDLE))
    thread = threading.Thread(target=lambda: started.append(lifeline.started(command, stdout=subprocess.PIPE)))
    thread.start()
    thread.join()
    (child,) = started
    assert child.stdout is not None
    with child.stdout:
        assert int(child.stdout.readline()) == child.pid
        assert survivors([child.pid], 1) == [child.pid]
        child.kill()
        child.wait()


def _descriptors() -> set[str]:
    return {descriptor.name for descriptor in Path("/proc/self/fd").iterdir()}


def test_nothing_is_left_open_for_a_child_that_has_ended_and_it_does_not_hand_its_lifeline_on() -> None:
    before = _descriptors()
    told = _program("lifeline.hold()", "print(os.environ.get('TAPML_FUZZ_LIFELINE'))")
    child = lifeline.started(told, stdout=subprocess.PIPE)
    assert child.communicate()[0] == b"None\n"
    assert child.returncode == 0
    del child
    assert _descriptors() == before
    with pytest.raises(FileNotFoundError):
        lifeline.started(["/nowhere/at/all"])
    assert _descriptors() == before


def test_program_that_nobody_binds_goes_on() -> None:
    assert subprocess.run(_program("lifeline.hold()", "print('on')"), capture_output=True, check=True).stdout == b"on\n"
