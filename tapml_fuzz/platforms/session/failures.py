"""The table of failures: a platform's exceptions, their replies on the wire, and their outcomes.

A worker turns an exception into a `FailureReply`; whoever asked turns that into an outcome, or, where it is a platform
itself that another worker answers (`remote.served`), into the exception again. A platform in this process takes the
same two steps, so that it has the same outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from tapml_fuzz.core.outcome import BuildError, NeedsSizes, RunError, Unreachable, Unsupported
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    DeviceLost,
    MachineUnreachable,
    NeedsStatic,
    NotSupported,
    Relayed,
)
from tapml_fuzz.platforms.session.wire import FailureKind, FailureReply

Step = Literal["build", "run"]
Failed = NeedsSizes | Unsupported | BuildError | RunError

_MESSAGE = 4000  # characters of an unforeseen exception's message that are kept
_SOURCE = 1 << 20  # characters of a refused source that are kept


class _Row(NamedTuple):
    """One kind of failure: what is raised for it, and the ways from there to a reply and from that to the others."""

    raised: type[Exception]
    reply: Callable[[Any], FailureReply]
    exception: Callable[[FailureReply], Exception]
    outcome: Callable[[FailureReply], Failed]


def _unforeseen(kind: FailureKind, error: Exception) -> FailureReply:
    if isinstance(error, Relayed):
        return FailureReply(kind, str(error), lost=error.lost)
    return FailureReply(kind, f"{type(error).__name__}: {error}"[:_MESSAGE], lost=isinstance(error, DeviceLost))


def _relayed(reply: FailureReply) -> Relayed:
    return Relayed(reply.message, lost=reply.lost)


_TABLE: dict[FailureKind, _Row] = {
    "needs-static": _Row(
        NeedsStatic,
        lambda error: FailureReply("needs-static", str(error), axes=error.axes),
        lambda reply: NeedsStatic(reply.message, reply.axes),
        lambda reply: NeedsSizes(reply.axes, reply.message),
    ),
    "unsupported": _Row(
        NotSupported,
        lambda error: FailureReply("unsupported", str(error)),
        lambda reply: NotSupported(reply.message),
        lambda reply: Unsupported(reply.message),
    ),
    "unreachable": _Row(
        MachineUnreachable,
        lambda error: FailureReply("unreachable", str(error), lost=True),
        lambda reply: MachineUnreachable(reply.message),
        lambda reply: Unreachable(reply.message),
    ),
    "build-error": _Row(
        BuildRejected,
        lambda error: FailureReply("build-error", str(error), error.source[:_SOURCE]),
        lambda reply: _relayed(reply) if reply.lost else BuildRejected(reply.message, reply.source),
        lambda reply: BuildError(reply.message, reply.source),
    ),
    "run-error": _Row(
        Exception,
        lambda error: _unforeseen("run-error", error),
        _relayed,
        lambda reply: RunError(reply.message),
    ),
}
# The kinds that are told apart at each step, and the one that anything else raised there is.
_TOLD_APART: dict[Step, tuple[FailureKind, ...]] = {
    "build": ("needs-static", "unsupported", "unreachable", "build-error"),
    "run": ("unsupported", "unreachable"),
}
_OTHERWISE: dict[Step, FailureKind] = {"build": "build-error", "run": "run-error"}


def reply_for(error: Exception, step: Step) -> FailureReply:
    """The reply for an exception of `Platform.build` (or `Reproducible.reproducer`) or `Platform.run`, by `step`."""
    for kind in _TOLD_APART[step]:
        if isinstance(error, _TABLE[kind].raised):
            return _TABLE[kind].reply(error)
    return _unforeseen(_OTHERWISE[step], error)


def exception_for(reply: FailureReply) -> Exception:
    """The exception that the reply is about, to be raised again: `reply_for` makes the same reply of it."""
    return _TABLE[reply.kind].exception(reply)


def build_outcome(reply: FailureReply, spec: BuildSpec) -> NeedsSizes | Unsupported | BuildError:
    """The outcome of building `spec`. A wish for sizes where none is open is a fault of the platform itself."""
    outcome = _TABLE[reply.kind].outcome(reply)
    if isinstance(outcome, NeedsSizes) and set(spec.operator.axis_names) <= set(spec.sizes):
        return BuildError(f"asks for sizes that it was given: {reply.message}")
    return BuildError(reply.message) if isinstance(outcome, RunError) else outcome


def run_outcome(reply: FailureReply) -> Unsupported | RunError:
    """The outcome of running a case; a kind that only a build can have is a run error here."""
    outcome = _TABLE[reply.kind].outcome(reply)
    return outcome if isinstance(outcome, Unsupported | RunError) else RunError(reply.message)
