"""Real servers on the loopback device for the tests, each in a process that is ended by its id."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Server:
    """A server process, what it has printed so far, and the port it listens on."""

    def __init__(self, *command: str, ready: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that `kill` reaches the processes of its sessions too
        )
        self.lines: list[str] = []
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port = int(self.wait_for(ready)[1])
        except BaseException:
            self.kill()
            raise

    def wait_for(self, pattern: str, seconds: float = 150) -> re.Match[str]:
        """The first line from now on that matches."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._arrived.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"the server ended with {self.process.wait()}: {self.lines}"
            if found := re.search(pattern, line):
                return found

    def kill(self) -> None:
        """SIGKILL, to the server and whatever belongs to its group; what it has started elsewhere notices."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self._arrived.put(line)
        self._arrived.put(None)


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """Our server, on any free port unless `--port` is given."""
    port = () if "--port" in options else ("--port", "0")
    server = Server("-m", "tapml_fuzz", "serve", *port, *options, ready=r"serving on \S+:(\d+)")
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def tvm_server() -> Iterator[Server]:
    """TVM's own RPC server, in one process less than `tvm.exec.rpc_server` starts it."""
    port = free_port()
    reproducer = f"from tvm.rpc.server import PopenRPCServerState as S; S('127.0.0.1', {port}, {port + 1})"
    server = Server("-c", reproducer, ready=r"bind to \S+:(\d+)")
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def tracker(port: int = 0) -> Iterator[Server]:
    """TVM's own tracker, likewise."""
    port = port or free_port()
    reproducer = f"from tvm.rpc.tracker import PopenTrackerServerState as T; T('127.0.0.1', {port}, {port + 1})"
    server = Server("-c", reproducer, ready=r"bind to \S+:(\d+)")
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
