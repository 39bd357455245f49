"""What testing one implementation once came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapml_fuzz.core.case import Case


@dataclass(frozen=True)
class Detection:
    """The first failure: at which trial (from 1), after how many seconds, what and on which case."""

    trial: int
    seconds: float
    kind: str
    realism: str
    message: str = ""
    case: Case | None = None


@dataclass
class Outcome:
    """One run of a method on one implementation.

    Attributes:
        trials: made; seconds: to the last of them; failures: trials that a method calls wrong.
        first: the first failure; ratios: `r` of each passing trial, where the method has one.
        realisms: failures by realism class.
    """

    trials: int = 0
    seconds: float = 0.0
    failures: int = 0
    first: Detection | None = None
    ratios: list[float] = field(default_factory=list)
    realisms: dict[str, int] = field(default_factory=dict)
