"""A sink of failures that remembers everything, and runners in this process, for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.strategies import SeedSet


class Remembering:
    """Claims each kind of verdict once (with `claims`) and keeps trials and failures in order."""

    def __init__(self, claims: bool = True) -> None:
        self.trials: list[Trial] = []
        self.first: list[Failure] = []
        self.last: list[Failure] = []
        self._claims, self._claimed = claims, set[str]()

    def tried(self, trial: Trial) -> None:
        self.trials.append(trial)

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return result.verdict.kind

    def claim(self, fingerprint: str) -> bool:
        new = self._claims and fingerprint not in self._claimed
        self._claimed.add(fingerprint)
        return new

    def found(self, failure: Failure) -> None:
        self.first.append(failure)

    def reduced(self, failure: Failure) -> None:
        self.last.append(failure)


@contextmanager
def runner_of(function: Callable[..., Any]) -> Iterator[DifferentialRunner]:
    """torch beside the callable, both in this process."""
    session = CallableSession("candidate", function, arrays="torch", positional=True, timeout=5.0)
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": session}, overlap=False)
    try:
        yield runner
    finally:
        runner.close()
