"""A campaign on one platform: seeds and recipes through the runner, everything included but reduction."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.stopwatch import Stopwatch
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.strategies import SeedSet

_LARGEST = 16384  # input elements, the campaign's default


class Passing:
    """Counts trials and lets every failure pass, so that nothing is reduced; see `engine.failures.FailureSink`."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self.trials = self.elements = 0

    def tried(self, trial: Trial) -> None:
        self.trials += sum(r.platform != self._reference for r in trial.results)
        self.elements += sum(r.case.elements for r in trial.results)

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return None

    def claim(self, fingerprint: str) -> bool:
        return False

    def found(self, *arguments: Any) -> None:
        raise AssertionError("nothing is new")

    reduced = found


def measure(source: SeedSet, runner: DifferentialRunner, seconds: float) -> dict[str, Any]:
    """One operator: trials, wall clock and its parts, in seconds. It is built and warm before the clock starts."""
    list(runner.trials((seed, None) for seed in source.seeds))
    runner.stopwatch = Stopwatch()
    sink = Passing(runner.reference_name)
    began = time.perf_counter()
    stop = Stop(expired=lambda: time.perf_counter() - began > seconds)
    fuzzer = OperatorFuzzer(source, runner, sink, FuzzOptions(max_elements=_LARGEST), stop)
    number = 0
    while not stop.expired():
        fuzzer.search(128, 128 * number, number + 1)
        number += 1
    elapsed = time.perf_counter() - began
    return {"trials": sink.trials, "elements": sink.elements, "elapsed": elapsed, **asdict(runner.stopwatch.times)}


def per_trial(figures: list[dict[str, Any]]) -> dict[str, float]:
    """Of several operators together: trials/s without build time, and milliseconds of each part.

    `own` is the fuzzer's: generation, oracle and what is neither waiting nor building.
    """
    total = {name: sum(figure[name] for figure in figures) for name in figures[0]}
    trials, working = max(1, total["trials"]), total["elapsed"] - total["build"]
    parts = {part: 1e3 * total[part] / trials for part in ("generate", "oracle", "reference", "candidate")}
    rest = 1e3 * working / trials - sum(parts.values())
    return {
        "trials": total["trials"],
        "trials_per_s": trials / working,
        **parts,
        "rest": rest,
        "own": parts["generate"] + parts["oracle"] + rest,
        "elements": total["elements"] / trials,
    }
