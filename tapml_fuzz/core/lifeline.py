"""Processes that end with the one that started them, whatever ends that one.

The parent holds the only write end of a pipe, writes nothing, and the child has the read end: when the parent is gone,
even by SIGKILL, its descriptors are closed, and the pipe hangs up. On Linux the kernel then kills the child itself
(fcntl(2), O_ASYNC and F_SETSIG), also when the child is inside native code that holds the interpreter lock.
PR_SET_PDEATHSIG would not do: it is bound to the thread that forked the child, and sessions are started from threads
that end. Where the kernel cannot, a thread of the child waits for the end of the pipe, which needs the lock. What the
child itself starts in this way ends in turn.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

_NAME = "TAPML_FUZZ_LIFELINE"  # the environment variable with the child's descriptor


def started(
    command: Sequence[str], *, pass_fds: Sequence[int] = (), env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """`subprocess.Popen` of a program that calls `hold` first thing."""
    theirs, ours = os.pipe()  # neither is inherited by what other threads start meanwhile
    try:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            pass_fds=[*pass_fds, theirs],
            env={**(os.environ if env is None else env), _NAME: str(theirs)},
            **options,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    weakref.finalize(process, os.close, ours)
    return process


def hold() -> None:
    """Bind this process to the one that started it with `started`; without effect when none has."""
    named = os.environ.pop(_NAME, None)  # it is not for what this process starts
    if named is None:
        return
    descriptor = int(named)
    os.set_inheritable(descriptor, False)
    if not _killed_by_kernel(descriptor):
        threading.Thread(target=_wait, args=(descriptor,), name="lifeline", daemon=True).start()
    if select.select([descriptor], [], [], 0)[0]:  # it has hung up before the kernel was asked to look
        _end()


def _killed_by_kernel(descriptor: int) -> bool:
    """Ask for SIGKILL when the pipe hangs up; whether the kernel does that."""
    if not hasattr(fcntl, "F_SETSIG"):  # elsewhere only SIGIO can be had, which is ignored unless handled in Python
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:  # a sandbox need not have it
        return False
    return True


def _wait(descriptor: int) -> None:
    os.read(descriptor, 1)
    _end()


def _end() -> None:
    os._exit(128 + signal.SIGKILL)  # nobody is left who could hear a farewell
