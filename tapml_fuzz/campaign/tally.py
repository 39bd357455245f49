"""Counting what a campaign did."""

from __future__ import annotations

import threading
from collections import Counter

from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.stopwatch import Times
from tapml_fuzz.engine.trial import Trial


class Tally:
    """Counters shared by all workers of a campaign.

    Attributes:
        trials: one case on one candidate each; cases: cases that were tried at all; elements: of the trials' inputs.
        by_platform, by_operator, by_pair: trials by candidate, by the operator's key, by both.
        worst: the largest ratio of a passing trial to the error bound, by candidate and key.
        unreached: cases while a platform did not answer.
        refused: cases that a platform could not run, those included; `refusals` has the first reason.
        unjudged: why the oracle could not tell what is right, by the operator's key.
        builds: builds by candidate; times: where the workers' seconds went.
    """

    def __init__(self) -> None:
        self.trials = self.cases = self.elements = 0
        self.by_platform: Counter[str] = Counter()
        self.by_operator: Counter[str] = Counter()
        self.by_pair: Counter[tuple[str, str]] = Counter()
        self.worst: dict[tuple[str, str], float] = {}
        self.unreached: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.refusals: dict[str, str] = {}
        self.unjudged: dict[str, str] = {}
        self.builds: Counter[str] = Counter()
        self.times = Times()
        self._lock = threading.Lock()

    def add(self, key: str, trial: Trial, reference: str) -> None:
        """Count one case of the operator `key`: a trial per candidate that could run it."""
        with self._lock:
            self.cases += 1
            for name in trial.missed:
                self.unreached[name] += 1
            for name, reason in trial.refused.items():
                self.refused[name] += 1
                self.refusals.setdefault(name, reason)
            for result in trial.results:
                if result.platform == reference:
                    continue
                self.trials += 1
                self.elements += result.case.elements
                self.by_platform[result.platform] += 1
                self.by_operator[key] += 1
                pair = (result.platform, key)
                self.by_pair[pair] += 1
                if result.verdict.kind is None:
                    self.worst[pair] = max(self.worst.get(pair, 0.0), result.verdict.metrics.ratio)

    def leave(self, key: str, reason: str) -> bool:
        """Note that an operator cannot be judged; False where that is known."""
        with self._lock:
            if key in self.unjudged:
                return False
            self.unjudged[key] = reason
            return True

    def finish(self, runner: DifferentialRunner) -> None:
        """Count what a worker's runner has built, and where its time went."""
        with self._lock:
            self.times.add(runner.stopwatch.times)
            for name, session in runner.candidates.items():
                self.builds[name] += session.builds
