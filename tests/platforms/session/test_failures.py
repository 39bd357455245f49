"""The table of failures: every kind survives the wire, and is the same outcome in a worker as in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.case import Case, Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import BuildError, NeedsSizes, Ok, RunError, RunOutcome, Unreachable, Unsupported
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    DeviceLost,
    MachineUnreachable,
    NeedsStatic,
    NotSupported,
    Relayed,
)
from tapml_fuzz.platforms.session import failures
from tapml_fuzz.platforms.session.failures import Step, build_outcome, exception_for, reply_for, run_outcome
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.wire import FailureKind, FailureReply
from tests.platforms.fakes import Echo
from tests.platforms.operators import A, B, X, aten

_SIZES = {"a": 2, "b": 3}
_FIXED = BuildSpec(aten("neg.default", [X], [(A, B)]), ("float32",), _SIZES)
_OPEN = msgspec.structs.replace(_FIXED, sizes={"a": 2})

# What a platform may raise, and the outcome of that in a build with every axis fixed and in a run.
RAISED: list[tuple[Exception, RunOutcome, RunOutcome]] = [
    (NotSupported("no"), Unsupported("no"), Unsupported("no")),
    (MachineUnreachable("gone"), Unreachable("gone"), Unreachable("gone")),
    (
        BuildRejected("line 3", "the source"),
        BuildError("line 3", "the source"),
        RunError("BuildRejected: line 3"),
    ),
    (
        NeedsStatic("a size", ("b",)),
        BuildError("asks for sizes that it was given: a size"),
        RunError("NeedsStatic: a size"),
    ),
    (DeviceLost("assert"), BuildError("DeviceLost: assert"), RunError("DeviceLost: assert")),
    (Relayed("said there"), BuildError("said there"), RunError("said there")),
    (Relayed("lost there", lost=True), BuildError("lost there"), RunError("lost there")),
    (ValueError("odd"), BuildError("ValueError: odd"), RunError("ValueError: odd")),
    (ValueError("x" * 5000), BuildError("ValueError: " + "x" * 3988), RunError("ValueError: " + "x" * 3988)),
]
_NAMES = [f"{type(error).__name__}: {str(error)[:10]}" for error, _, _ in RAISED]
_LOST = (MachineUnreachable, DeviceLost)


class Raising(Echo):
    """Raises what `RAISED` has at the operator's number when it builds, or at the tensor's value when it runs."""

    name = "raising"

    def build(self, spec: BuildSpec) -> Any:
        if len(spec.operator.args) > 1:
            raise RAISED[spec.operator.args[1]][0]
        return spec.operator

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        raise RAISED[int(tensors[0].flat[0])][0]


def over_the_wire(reply: FailureReply) -> FailureReply:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=FailureReply)


def test_the_table_has_every_kind_that_the_wire_has() -> None:
    assert set(failures._TABLE) == set(get_args(FailureKind))
    assert set(failures._TOLD_APART) == set(failures._OTHERWISE) == set(get_args(Step))


@pytest.mark.parametrize("step", get_args(Step))
@pytest.mark.parametrize("error", [row[0] for row in RAISED], ids=_NAMES)
def test_exception_to_reply_to_exception_to_reply(error: Exception, step: Step) -> None:
    reply = over_the_wire(reply_for(error, step))
    again = exception_for(reply)
    assert reply_for(again, step) == reply
    assert reply.lost == (isinstance(error, _LOST) or getattr(error, "lost", False))
    if reply.kind not in ("build-error", "run-error"):
        assert type(again) is type(error)
        assert (str(again), getattr(again, "axes", ())) == (str(error), getattr(error, "axes", ()))


@pytest.mark.parametrize(("error", "built", "ran"), RAISED, ids=_NAMES)
def test_exception_is_the_same_outcome_whoever_passes_it_on(
    error: Exception, built: RunOutcome, ran: RunOutcome
) -> None:
    for passed_on in (error, exception_for(reply_for(error, "build"))):
        assert build_outcome(reply_for(passed_on, "build"), _FIXED) == built
    for passed_on in (error, exception_for(reply_for(error, "run"))):
        assert run_outcome(reply_for(passed_on, "run")) == ran


def test_sizes_are_asked_for_while_an_axis_is_open() -> None:
    assert build_outcome(reply_for(NeedsStatic("a size", ("b",)), "build"), _OPEN) == NeedsSizes(("b",), "a size")


def test_a_kind_of_the_other_step_is_an_error_of_this_one() -> None:
    assert run_outcome(FailureReply("needs-static", "a size", axes=("b",))) == RunError("a size")
    assert build_outcome(FailureReply("run-error", "odd"), _FIXED) == BuildError("odd")


def test_a_kind_that_is_none_is_no_reply() -> None:
    with pytest.raises(msgspec.ValidationError, match="kind"):
        msgspec.msgpack.decode(
            msgspec.msgpack.encode({"type": "failure", "kind": "odd", "message": ""}), type=FailureReply
        )


@pytest.mark.parametrize("number", range(len(RAISED)), ids=_NAMES)
def test_in_this_process_as_through_a_worker(number: int) -> None:
    _, built, ran = RAISED[number]
    building = Case(aten("neg.default", [X, number], [(A, B)]), _SIZES, (np.zeros((2, 3), np.float32),))
    running = Case(_FIXED.operator, _SIZES, (np.full((2, 3), number, np.float32),))
    with (
        InProcessSession(Raising()) as here,
        WorkerSession("raising", where="tests.platforms.session.test_failures:Raising") as there,
    ):
        assert (here.run(running), there.run(running)) == (ran, ran)
        assert (here.run(building), there.run(building)) == (built, built)
