"""The package's own way to test an implementation, whole or with parts switched off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from benchmarks.detection.model import Control
from benchmarks.detection.outcome import Detection, Outcome
from benchmarks.detection.session import ControlSession
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.verdict import Realism
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.torch.eager import TorchCpu
from tapml_fuzz.strategies import PHASES, SeedSet, realism
from tapml_fuzz.strategies.recipe import Phase


@dataclass(frozen=True)
class Parts:
    """What is switched on: `phases` of the strategies, climbing toward large ratios, the error model's judgement."""

    phases: tuple[Phase, ...] = PHASES
    steer: bool = True
    runner: Callable[..., DifferentialRunner] = DifferentialRunner


WHOLE = Parts()


def fuzzer(
    control: Control,
    source: SeedSet,
    *,
    trials: int,
    seconds: float,
    seed: int,
    stop: bool = True,
    parts: Parts = WHOLE,
    believed: SeedSet | None = None,
) -> Outcome:
    """Test `control` for at most `trials` and `seconds`; with `stop` only up to the first failure.

    With `believed`, the recordings, only failures on inputs as a model has them count: recorded, or of such values.
    """
    with in_process(parts.runner, control) as runner:
        watch = Watch(source, stop, time.perf_counter() + seconds, believed)
        OperatorFuzzer(
            source,
            runner,
            watch,
            FuzzOptions(dtypes=control.drawn, phases=parts.phases, steer=parts.steer, order_seed=seed),
            Stop(expired=watch.over),
        ).within(Budget(trials=trials).start(), seed)
    return watch.outcome


@contextmanager
def in_process(kind: Callable[..., DifferentialRunner], control: Control) -> Iterator[DifferentialRunner]:
    """A runner in this process, as `check` makes one, with `control` as its only candidate."""
    candidates = {control.name: ControlSession(control)}
    runner = kind("torch-cpu", InProcessSession(TorchCpu()), candidates, doubt_reference=False, overlap=False)
    try:
        yield runner
    finally:
        runner.close()


@dataclass
class Watch:
    """Counts trials and failures, keeps the first; nothing is reduced. See `engine.failures.FailureSink`."""

    source: SeedSet
    stop: bool
    deadline: float
    believed: SeedSet | None = None
    outcome: Outcome = field(default_factory=Outcome)
    _began: float = field(default_factory=time.perf_counter)

    def tried(self, trial: Trial) -> None:
        for result in trial.results:
            outcome, verdict = self.outcome, result.verdict
            outcome.trials += 1
            outcome.seconds = time.perf_counter() - self._began
            if not verdict.failed:
                outcome.ratios.append(verdict.metrics.ratio if verdict.kind is None else 0.0)
                continue
            level = self._realism(result.case)
            if self.believed is not None and level not in ("observed", "near"):
                continue
            outcome.failures += 1
            outcome.realisms[level] = outcome.realisms.get(level, 0) + 1
            if outcome.first is None:
                outcome.first = Detection(
                    outcome.trials, outcome.seconds, str(verdict.kind), level, verdict.message, result.case
                )

    def _realism(self, case: Case) -> Realism:
        """By the recordings; what stands in for them where there are none has not been observed."""
        if self.believed not in (None, self.source):
            return realism(replace(case, origin=""), self.believed)
        return realism(case, self.source)

    def over(self) -> bool:
        return (self.stop and self.outcome.failures > 0) or time.perf_counter() > self.deadline

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return None

    def claim(self, fingerprint: str) -> bool:
        return False

    def found(self, failure: Failure) -> None: ...
    def reduced(self, failure: Failure) -> None: ...
