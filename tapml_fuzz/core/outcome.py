"""Outcomes of asking a platform to build or run something: values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import msgspec

from tapml_fuzz.core.dtypes import Array

Output = TypeVar("Output")
_Other = TypeVar("_Other")


class Ok(msgspec.Struct, Generic[Output], frozen=True):
    """A run that came to its end, from the platform that ran it to the judge.

    Attributes:
        outputs: those of the operator's outputs that are used (`Operator.used`), in its order: packed numpy arrays
            (`Ok[Array]`), or what stands for them where their bytes travel apart (`session.wire.TensorSpec` in a
            frame's header).
        seconds: the time inside the platform.
        unwritten: per output, how many elements still held the poison after the run.
        mutated: tensor slots whose input bytes were changed by the run.
        aliased: outputs that share memory with an input.
    """

    outputs: tuple[Output, ...]
    seconds: float = 0.0
    unwritten: tuple[int, ...] = ()
    mutated: tuple[int, ...] = ()
    aliased: tuple[int, ...] = ()

    def with_outputs(self, outputs: tuple[_Other, ...]) -> Ok[_Other]:
        """The same run with other outputs in place of its own: arrays for their specs, or the other way round."""
        return cast("Ok[_Other]", msgspec.structs.replace(self, outputs=outputs))


@dataclass(frozen=True)
class Built:
    """A build that can be run by its `handle`; `symbolic` says whether it serves every shape."""

    handle: int
    seconds: float
    symbolic: bool
    log: str = ""


@dataclass(frozen=True)
class NeedsSizes:
    """It could not be built with these axes open (none named: with any open); with sizes for them it may be."""

    axes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Unsupported:
    """The platform cannot do this and says so; never a fault."""

    reason: str


@dataclass(frozen=True)
class Unreachable(Unsupported):
    """The platform is on another machine, which does not answer now; it may later."""


@dataclass(frozen=True)
class BuildError:
    """The compiler or driver rejected the operator."""

    message: str
    source: str = field(default="", repr=False)


@dataclass(frozen=True)
class RunError:
    """The build raised when run."""

    message: str


@dataclass(frozen=True)
class Crash:
    """The worker died: a signal (negative exit code, as in `subprocess`) or an unexpected exit."""

    exit_code: int
    stderr: str = ""


@dataclass(frozen=True)
class Timeout:
    """No answer within `seconds`; the worker was killed."""

    seconds: float


BuildOutcome = Built | Unsupported | BuildError | Crash | Timeout
RunOutcome = Ok[Array] | Unsupported | BuildError | RunError | Crash | Timeout
