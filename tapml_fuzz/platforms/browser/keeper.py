"""The process between a worker and its browser: when the worker is gone, however it ended, so is the browser.

`python -I keeper.py PROGRAM ARGUMENT...` starts PROGRAM in a process group of its own with `{folder}` in the
arguments replaced by a fresh folder, prints the folder, and waits for its standard input to end (the worker holds the
other end, and a killed process's descriptors are closed) or for PROGRAM to end. Then it kills the group and removes
the folder. It must stay importable alone: it is run by path, and imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_LOOK_S = 0.2  # between looks at whether the program has ended
_REMOVAL_S = 5.0  # a killed browser's other processes may write for a moment
_PR_SET_PDEATHSIG = 1  # prctl(2)


def keep(command: Sequence[str]) -> int:
    """Run `command` until it or our standard input ends; its exit status, or 0 when it was ours to end."""
    folder = Path(tempfile.mkdtemp(prefix="tapml-fuzz-browser-"))
    program: subprocess.Popen[bytes] | None = None
    try:
        program = subprocess.Popen(
            [argument.replace("{folder}", str(folder)) for argument in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_dying_with_us(),  # this process has one thread, so that is safe
        )
        print(folder, flush=True)
        while program.poll() is None:
            if select.select([sys.stdin], [], [], _LOOK_S)[0] and not os.read(sys.stdin.fileno(), 4096):
                return 0
        return program.returncode
    finally:
        if program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        _remove(folder)


def _dying_with_us() -> Callable[[], object] | None:
    """A function for the child to call, so that it is killed when this process is; None elsewhere than on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + _REMOVAL_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(keep(sys.argv[1:]))
