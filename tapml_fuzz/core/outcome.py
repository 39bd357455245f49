"""Outcomes of asking a platform to build or run something: values, not exceptions."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapml_fuzz.core.dtypes import Array


@dataclass(frozen=True)
class Ok:
    """Outputs of one run, in the operator's order.

    `seconds` is the time inside the platform. `unwritten` counts, per output, the elements that still held the
    poison after the run. `mutated` lists tensor slots whose input bytes were changed by the run; `aliased` the
    outputs that share memory with an input.
    """

    outputs: tuple[Array, ...]
    seconds: float = 0.0
    unwritten: tuple[int, ...] = ()
    mutated: tuple[int, ...] = ()
    aliased: tuple[int, ...] = ()


@dataclass(frozen=True)
class Built:
    """A build that can be run by its `handle`; `symbolic` says whether it serves every shape."""

    handle: int
    seconds: float
    symbolic: bool
    log: str = ""


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
RunOutcome = Ok | Unsupported | BuildError | RunError | Crash | Timeout
