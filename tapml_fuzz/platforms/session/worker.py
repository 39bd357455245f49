"""The process a platform lives in: `python -m tapml_fuzz.platforms.session.worker MODULE:CLASS FD`.

It answers build, run and reproducer requests on the stream socket FD, one at a time, and ends when the stream closes.
What a library prints goes to stderr, which the supervisor keeps; FD carries nothing but frames.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import time
import traceback
from itertools import islice
from typing import Any, cast

from tapml_fuzz.core import lifeline
from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.operator import decode_operator
from tapml_fuzz.platforms.base import (
    BuildSpec,
    Platform,
    info_of,
    reproducer_of,
)
from tapml_fuzz.platforms.registry import load
from tapml_fuzz.platforms.session.failures import reply_for
from tapml_fuzz.platforms.session.wire import (
    BuildReply,
    BuildRequest,
    CaseSpec,
    Channel,
    FailureReply,
    Hello,
    ReproducerReply,
    ReproducerRequest,
    RunReply,
    RunRequest,
    WireError,
    specs_of,
)

# Where the kernel does not kill an orphan (`core.lifeline`), one that hangs in native code with the interpreter lock
# cannot notice that its supervisor is gone. faulthandler's watchdog is a C thread that ends the process even then; it
# is armed anew while the worker is alive and answering.
_WATCHDOG_S = 900.0
_REARM_S = 60.0
_RUNS_PER_RSS = 16  # reading one's own size costs a tenth of a small run
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Server:
    def __init__(self, platform: Platform, channel: Channel) -> None:
        self._platform = platform
        self._channel = channel
        self._builds: dict[int, Any] = {}
        self._next = 0
        self._runs = 0
        self._armed = 0.0

    def serve(self) -> None:
        """Answer until the supervisor closes the stream."""
        while True:
            self._arm()
            if not self._channel.wait(_REARM_S):
                continue
            request, tensors = self._channel.receive()
            if isinstance(request, BuildRequest):
                self._channel.send(self._build(request))
            elif isinstance(request, RunRequest):
                left = iter(tensors)
                for case in request.cases:
                    self._arm()
                    self._run(request.handle, case, list(islice(left, len(case.tensors))))
            elif isinstance(request, ReproducerRequest):
                self._channel.send(self._reproducer(request))
            else:
                raise WireError(f"a worker takes no {type(request).__name__}")

    def _arm(self) -> None:
        now = time.monotonic()
        if now - self._armed > _REARM_S:
            faulthandler.dump_traceback_later(_WATCHDOG_S, exit=True)
            self._armed = now

    def _build(self, request: BuildRequest) -> BuildReply | FailureReply:
        for handle in request.drop:
            self._builds.pop(handle, None)
        started = time.perf_counter()
        try:
            spec = BuildSpec(decode_operator(request.operator), request.dtypes, request.sizes)
            build = self._platform.build(spec)
        except Exception as error:
            return reply_for(error, "build")
        self._next += 1
        self._builds[self._next] = build
        return BuildReply(self._next, time.perf_counter() - started, _resident_bytes())

    def _run(self, handle: int, case: CaseSpec, tensors: list[Any]) -> None:
        self._runs += 1
        layouts = cast("tuple[Layout, ...]", case.layouts)
        try:
            run = self._platform.run(self._builds[handle], tensors, layouts, case.sizes)
            rss = self._resident() if self._runs % _RUNS_PER_RSS == 0 else 0
            reply = RunReply(run.with_outputs(specs_of(run.outputs)), rss)
        except Exception as error:
            self._channel.send(reply_for(error, "run"))
            return
        self._channel.send(reply, run.outputs)

    def _resident(self) -> int:
        """This process's memory, or that of the process that a remote platform has elsewhere."""
        return max(_resident_bytes(), int(getattr(self._platform, "resident_elsewhere", 0)))

    def _reproducer(self, request: ReproducerRequest) -> ReproducerReply | FailureReply:
        layouts = cast("tuple[Layout, ...]", request.layouts)
        try:
            spec = BuildSpec(decode_operator(request.operator), request.dtypes, request.fixed)
            return ReproducerReply(reproducer_of(self._platform, spec, request.sizes, layouts, careful=request.careful))
        except Exception as error:
            return reply_for(error, "build")


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123 (a Path costs a third of the call)
            return int(file.read().split()[1]) * _PAGE
    except OSError:  # not Linux: no limit is enforced there
        return 0


def main(where: str, descriptor: int) -> None:
    """Activate the platform at `where` (`module:Class`), say hello, serve; never returns."""
    lifeline.hold()
    # Ctrl-C reaches every process of the terminal's group; when to stop is the supervisor's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # a print must not block on, or be lost in, whatever stdout is
    channel = Channel(socket.socket(fileno=descriptor))
    status = 0
    try:
        platform = load(where)
        info = info_of(platform)
        channel.send(Hello(info))
        if info.available:
            _Server(platform, channel).serve()
    except WireError:
        pass  # the supervisor closed the stream: the normal end
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    # GPU drivers and compilers register destructors that call into a Python already torn down.
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
