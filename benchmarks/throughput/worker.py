"""What one worker of a platform can do: building, the first call, and cases of one build after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.throughput.inputs import NEAR, cases
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Built, Ok
from tapml_fuzz.engine.prefetch import WINDOW
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.strategies import SeedSet

_ANY = range(1, 16385)
_SHAPES = 8
# Where every shape is a build of its own, fewer shapes are timed.
_WARM_S = 3.0


@dataclass(frozen=True)
class Rate:
    """Runs of some cases, again and again, all built and run before. Seconds; `inside` is inside the platform."""

    runs: int
    seconds: float
    inside: float
    elements: float

    @property
    def each(self) -> float:
        return self.seconds / self.runs


@dataclass(frozen=True)
class Speed:
    """One operator on one platform. `build` and `first` in seconds, by the supervisor's clock; None: nothing to build.

    `near` and `any` are None where the platform runs no such case.
    """

    operator: str
    build: float | None
    first: float
    near: Rate | None
    any: Rate | None


def speed(session: Session, source: SeedSet, seconds: float) -> Speed | None:
    """Measure one operator for about twice `seconds`; None where the platform does not run it."""
    near, mixed = cases(source, NEAR, _SHAPES), cases(source, _ANY, _SHAPES)
    first = (near or mixed or list(source.seeds))[0]
    began = time.perf_counter()
    built = session.build(first.operator, first.dtypes, first.sizes)
    took = time.perf_counter() - began
    if not isinstance(built, Built):
        return None
    began = time.perf_counter()
    if not isinstance(session.run(first), Ok):
        return None
    called = time.perf_counter() - began
    rates = [_rate(session, some, seconds) for some in (near, mixed)]
    eager = session.info().eager
    return Speed(source.operator.describe(), None if eager else took, called, *rates)


def _rate(session: Session, given: Sequence[Case], seconds: float) -> Rate | None:
    """As a campaign runs them: windows of known cases."""
    began = time.perf_counter()
    warm = []
    for case in given:
        if time.perf_counter() - began < _WARM_S and isinstance(session.run(case), Ok):
            warm.append(case)
    if not warm:
        return None
    window = [warm[n % len(warm)] for n in range(WINDOW)]
    runs, inside = 0, 0.0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        outcomes = list(session.run_many(window))
        runs += len(outcomes)
        inside += sum(outcome.seconds for outcome in outcomes if isinstance(outcome, Ok))
    return Rate(runs, elapsed, inside, sum(case.elements for case in window) / len(window))
