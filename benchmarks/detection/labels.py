"""Whether a fault that shows inside the observed ranges is reported as such, on its minimal case."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import msgspec

from benchmarks.detection.methods import recorded
from benchmarks.detection.ours import in_process
from benchmarks.detection.registry import faults, subject_of
from tapml_fuzz.core.verdict import REALISMS, Realism
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.strategies import SeedSet, realism
from tapml_fuzz.triage.evidence import realism_of
from tapml_fuzz.triage.fingerprint import fingerprint_of

# What a model could produce, against what only an adversary would.
ORDINARY: tuple[Realism, ...] = ("observed", "near", "extrapolated")


class Label(msgspec.Struct, frozen=True):
    """What was seen of one fault in one run.

    Attributes:
        seen: the most realistic class of input it failed on; reported: the most realistic label of a finding.
        elements: input elements of the smallest minimal case.
    """

    name: str
    seen: Realism | None
    reported: Realism | None
    elements: int

    @property
    def right(self) -> bool:
        """Reported no less realistic than seen, where "observed" and "near" are one: a reduced seed is near."""
        if self.seen is None or self.reported is None:
            return self.seen == self.reported
        return _rank(self.reported) <= _rank(self.seen)


def _rank(level: Realism) -> int:
    return max(REALISMS.index(level), REALISMS.index("near"))


@dataclass
class _Labels:
    """Keeps every finding's smallest case; see `engine.failures.FailureSink`."""

    source: SeedSet
    seen: list[Realism] = field(default_factory=list)
    final: dict[str, Failure] = field(default_factory=dict)

    def tried(self, trial: Trial) -> None:
        self.seen += [realism(r.case, self.source) for r in trial.results if r.verdict.failed]

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return fingerprint_of(result, seed_set)

    def claim(self, fingerprint: str) -> bool:
        return fingerprint not in self.final

    def found(self, failure: Failure) -> None:
        self.final[failure.fingerprint] = failure

    def reduced(self, failure: Failure) -> None:
        self.final[failure.fingerprint] = failure


def label(name: str, trials: int, seed: int = 0) -> Label:
    """Look for a fault as `check` does, with reduction."""
    control = faults()[name].candidate
    source = recorded(subject_of(control))
    with in_process(DifferentialRunner, control) as runner:
        seen = _Labels(source)
        options = FuzzOptions(dtypes=control.drawn, order_seed=seed, shrink_seconds=0.5, reduce_seconds=1.5)
        OperatorFuzzer(source, runner, seen, options).within(Budget(trials=trials).start(), seed)
    failures = [f for f in seen.final.values() if f.best.verdict.failed]
    reported = [realism_of(f) for f in failures]
    return Label(
        name,
        min(seen.seen, key=REALISMS.index, default=None),
        min(reported, key=REALISMS.index, default=None),
        min((f.best.case.elements for f in failures), default=0),
    )


def labels(names: Sequence[str], trials: int, pool: ProcessPoolExecutor) -> list[Label]:
    """The labels of many faults, spread over processes."""
    return list(pool.map(label, names, [trials] * len(names)))
