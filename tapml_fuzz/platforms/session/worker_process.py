"""A worker process (`session.worker`): its start, its end and its last words."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from tapml_fuzz.core import lifeline
from tapml_fuzz.core.outcome import Crash
from tapml_fuzz.platforms.session.wire import Channel

_STDERR_KEPT = 8192  # bytes of a worker's last words
_EXIT_WAIT_S = 5.0  # for the exit status of a process that has closed its stream


class WorkerProcess:
    """One worker process: its stream, and the end of what it wrote to stderr.

    `where` is as in `registry.location`, or whatever a worker of another kind, in `module`, takes in its place. It ends
    with this process (`core.lifeline`).
    """

    def __init__(self, where: str, module: str = "tapml_fuzz.platforms.session.worker") -> None:
        ours, theirs = socket.socketpair()
        self.started = time.monotonic()
        self.channel = Channel(ours)
        with theirs:
            self._process = lifeline.started(
                [sys.executable, "-m", module, where, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is ours to answer
                env=environment(),
            )
        assert self._process.stderr is not None
        self._words: deque[bytes] = deque()
        self._reader = threading.Thread(target=self._keep_last, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def crash(self) -> Crash:
        """The end of the process, after its stream broke; it is killed if it did not end by itself."""
        try:
            code = self._process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(_EXIT_WAIT_S)
        return Crash(code, b"".join(self._words).decode(errors="replace")[-_STDERR_KEPT:])

    def stop(self) -> None:
        """Kill at once: the worker holds nothing worth a farewell."""
        self.channel.close()
        self._process.kill()
        self._process.wait()
        self._reader.join(_EXIT_WAIT_S)
        if self._process.stderr is not None and not self._reader.is_alive():
            self._process.stderr.close()

    def _keep_last(self, stream: IO[bytes]) -> None:
        kept = 0
        while chunk := os.read(stream.fileno(), 4096):
            self._words.append(chunk)
            kept += len(chunk)
            while kept - len(self._words[0]) >= _STDERR_KEPT:
                kept -= len(self._words.popleft())


def environment() -> dict[str, str]:
    """The worker's environment: this interpreter's import path, and one thread per numerical library."""
    package_root = str(Path(__file__).resolve().parents[3])
    paths = dict.fromkeys([package_root, *(path for path in sys.path if path)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
