"""A platform in a worker of a server of ours: frames as between any supervisor and worker, over TVM's RPC."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import encode_operator
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.base import (
    BuildSpec,
    Info,
    MachineUnreachable,
    Reproducer,
    Unavailable,
)
from tapml_fuzz.platforms.remote.parcel import Shelf, pack
from tapml_fuzz.platforms.remote.protocol import (
    ABOUT,
    ASK,
    OPEN,
    VERSION,
    About,
    WorkerEnded,
    decode_about,
    decode_reply,
)
from tapml_fuzz.platforms.session.failures import exception_for
from tapml_fuzz.platforms.session.wire import (
    BuildReply,
    BuildRequest,
    CaseSpec,
    FailureReply,
    Hello,
    Message,
    ReproducerReply,
    ReproducerRequest,
    RunReply,
    RunRequest,
    frame,
    specs_of,
)


def about(session: Any) -> About | None:
    """The facts that our server tells; None from any other TVM RPC server. Raises `WireError` for garbled ones."""
    try:
        function = session.get_function(ABOUT)
    except AttributeError:  # "Module has no function"
        return None
    return decode_about(bytes(function()))


@dataclass(frozen=True, eq=False)
class ServedBuild:
    """A build in the worker over there."""

    handle: int


class Served:
    """The platform `name` as the server of `session` has it. A crash over there ends this process in the same way.

    Attributes:
        resident: bytes of memory that the worker over there had when it last said.
    """

    def __init__(self, session: Any, name: str) -> None:
        self.name = name
        self.resident = 0
        self._session = session
        self._ask = session.get_function(ASK)
        self._shelf = Shelf()
        self._dropped: list[int] = []

    def activate(self) -> Info:
        """See `base.Platform.activate`. Raises `Unavailable` where the server is of another version as well."""
        server = about(self._session)
        assert server is not None, "it is for a server of ours"
        versions = {"tapml_fuzz": server.version}
        if server.protocol != VERSION:
            raise Unavailable(
                "the server is of another version", "install the same tapml_fuzz there", versions=versions
            )
        reply, _ = self._called(self._session.get_function(OPEN), self.name)
        if not isinstance(reply, Hello):
            raise MachineUnreachable(f"the server began with {type(reply).__name__}")
        info = msgspec.structs.replace(reply.info, versions={**reply.info.versions, **versions})
        if not info.available:
            raise Unavailable(info.reason, info.hint, operators=info.operators, versions=info.versions)
        return info

    def build(self, spec: BuildSpec) -> ServedBuild:
        """See `base.Platform.build`. Raises what the platform raised over there, or `MachineUnreachable`."""
        request = BuildRequest(encode_operator(spec.operator), spec.dtypes, spec.sizes, tuple(self._dropped))
        self._dropped.clear()
        reply, _ = self._exchange(request)
        if not isinstance(reply, BuildReply):
            raise _failed(reply)
        self.resident = reply.rss
        build = ServedBuild(reply.handle)
        weakref.finalize(build, self._dropped.append, reply.handle)
        return build

    def run(
        self, build: ServedBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`. Raises what the platform raised over there, or `MachineUnreachable`."""
        case = CaseSpec(specs_of(tensors), tuple(layouts), dict(sizes))
        reply, outputs = self._exchange(RunRequest(build.handle, (case,)), tensors)
        if not isinstance(reply, RunReply):
            raise _failed(reply)
        self.resident = reply.rss or self.resident
        return reply.run.with_outputs(tuple(outputs))

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer | None:
        """See `base.Reproducible`; None where the platform over there writes none."""
        facts = (encode_operator(spec.operator), spec.dtypes, spec.sizes, dict(sizes), tuple(layouts))
        reply, _ = self._exchange(ReproducerRequest(*facts, careful))
        if not isinstance(reply, ReproducerReply):
            raise _failed(reply)
        return reply.reproducer

    def _exchange(self, request: Message, tensors: Sequence[Array] = ()) -> tuple[Message, list[Array]]:
        return self._called(self._ask, pack(frame(request, tensors), self._shelf))

    def _called(self, function: Any, argument: Any) -> tuple[Message, list[Array]]:
        try:
            reply, tensors = decode_reply(bytes(function(argument)))
        except Exception as error:  # TVM raises many types when a connection breaks, and for what our server refuses
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise MachineUnreachable(f"lost the connection to its server: {said[-1][:200]}") from error
        if isinstance(reply, WorkerEnded):
            end_like(reply)
        return reply, tensors


def _failed(reply: Message) -> Exception:
    """The exception of the other side, to be raised here."""
    if not isinstance(reply, FailureReply):
        return MachineUnreachable(f"the server answered with {type(reply).__name__}")
    return exception_for(reply)


def end_like(ended: WorkerEnded) -> NoReturn:
    """End this process as the worker over there ended, with its last words.

    The supervisor here then sees the same crash.
    """
    sys.stderr.write(ended.stderr)
    sys.stderr.flush()
    if ended.exit_code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core is over there
        with contextlib.suppress(OSError, ValueError):  # those that cannot be caught need no default
            signal.signal(-ended.exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -ended.exit_code)
    os._exit(ended.exit_code & 0xFF)
