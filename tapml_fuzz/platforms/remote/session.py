"""The process of one client of our RPC server: `python -m tapml_fuzz.platforms.remote.session SOCKET FOLDER`.

TVM's own server loop answers on the connected SOCKET, with TVM's functions (files go to FOLDER) and ours
(`remote.protocol`). A worker does the platform's work, as on the client's own machine; when the client hangs up, the
worker is killed, whatever it is doing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapml_fuzz.core import lifeline
from tapml_fuzz.core.outcome import Crash
from tapml_fuzz.core.version import __version__
from tapml_fuzz.platforms.registry import known, location
from tapml_fuzz.platforms.remote.parcel import Shelf, unpack
from tapml_fuzz.platforms.remote.protocol import (
    ABOUT,
    ASK,
    OPEN,
    VERSION,
    About,
    WorkerEnded,
    encode_about,
    encode_ended,
)
from tapml_fuzz.platforms.session.wire import (
    BuildRequest,
    ReproducerRequest,
    RunRequest,
    WireError,
    frame,
    unframed,
)
from tapml_fuzz.platforms.session.worker_process import WorkerProcess

# A client that still waits has longer deadlines of its own than it should; one that is gone is noticed at once.
_PATIENCE_S = 900.0
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Host:
    """The functions that a client can call, and the worker behind them. `client` is the connection's descriptor."""

    def __init__(self, client: int) -> None:
        self._client = client
        self._worker: WorkerProcess | None = None
        self._shelf = Shelf()

    def about(self) -> bytes:
        """The encoded `About` of this server."""
        return encode_about(About(VERSION, __version__, known()))

    def open(self, name: str) -> bytes:
        """Start the platform in a fresh worker; its first message, a `Hello` in a frame, or an encoded `WorkerEnded`.

        Raises `WireError` for a name that is not in `About.platforms`.
        """
        if name not in known():  # neither another server's nor, above all, code of the client's choice (`user:...`)
            raise WireError("a server runs the platforms that it lists, and no others")
        self.close()
        self._shelf = Shelf()
        self._worker = WorkerProcess(location(name))
        return self._answer(self._worker)

    def ask(self, parcel: bytes) -> bytes:
        """Hand a request in a parcel to the worker; the frame of its answer, or an encoded `WorkerEnded`.

        Raises `WireError` for a parcel that holds no request, and before `open`.
        """
        request, tensors = unframed(unpack(parcel, self._shelf))
        if not isinstance(request, BuildRequest | RunRequest | ReproducerRequest):
            raise WireError(f"a server takes no {type(request).__name__}")
        if isinstance(request, RunRequest) and len(request.cases) != 1:  # one call has one answer
            raise WireError(f"a server takes one case at a time, not {len(request.cases)}")
        if self._worker is None:
            raise WireError("no platform has been opened")
        try:
            self._worker.channel.send(request, tensors, time.monotonic() + _PATIENCE_S)
        except (WireError, TimeoutError):
            return self._ended(self._worker)
        return self._answer(self._worker)

    def close(self) -> None:
        """Kill the worker, if there is one."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _answer(self, worker: WorkerProcess) -> bytes:
        """The frame of the worker's answer, or the encoded `WorkerEnded` in its place."""
        deadline = time.monotonic() + _PATIENCE_S
        watched = select.poll()
        watched.register(self._client, _HUNG_UP)
        watched.register(worker.channel.fileno(), select.POLLIN)
        while not worker.channel.wait(0):
            heard = watched.poll(1000 * max(0.0, deadline - time.monotonic()))
            if not heard or any(descriptor == self._client for descriptor, _ in heard):
                # Nobody waits for the answer any more. TVM's loop would notice after the worker's answer only.
                worker.stop()
                os._exit(0)
        try:
            message, tensors = worker.channel.receive(deadline)
        except (WireError, TimeoutError):
            return self._ended(worker)
        return b"".join(frame(message, tensors))

    def _ended(self, worker: WorkerProcess) -> bytes:
        crash: Crash = worker.crash()
        self.close()
        return encode_ended(WorkerEnded(crash.exit_code, crash.stderr))


def register(host: Host, folder: Path) -> None:
    """Make the host's functions callable by the client, and TVM's files stay in `folder`."""
    import tvm_ffi
    from tvm.runtime import load_module

    def inside(name: str) -> str:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise ValueError(f"{name[:100]!r} is outside the session's folder")
        return str(path)

    functions: dict[str, Callable[..., Any]] = {
        ABOUT: host.about,
        OPEN: lambda name: host.open(str(name)),
        ASK: lambda parcel: host.ask(bytes(parcel)),
        "tvm.rpc.server.workpath": lambda name: inside(str(name)),
        "tvm.rpc.server.load_module": lambda name: load_module(inside(str(name))),
    }
    for name, function in functions.items():
        tvm_ffi.register_global_func(name, function, override=True)


def main(descriptor: int, folder: Path) -> None:
    """Serve the client on `descriptor` until it hangs up; never returns."""
    lifeline.hold()  # a device whose server was killed is free again
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from tvm.rpc._ffi_api import ServerLoop

    folder = folder.resolve()
    os.chdir(folder)  # what a kernel writes by a relative name stays apart, too
    host = Host(descriptor)
    register(host, folder)
    status = 0
    try:
        ServerLoop(descriptor)
    except Exception as error:  # a connection that breaks in the middle of a message
        print(f"session ended: {str(error).strip().splitlines()[-1:]}", file=sys.stderr)
        status = 1
    host.close()
    os._exit(status)  # destructors of GPU runtimes call into a Python already torn down


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
