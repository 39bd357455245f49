"""What a campaign makes of a platform: seeds and recipes through the bench, everything included but reduction."""

from __future__ import annotations

import time
from typing import Any

from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.runner import DifferentialRunner, Result
from tapml_fuzz.engine.times import Times
from tapml_fuzz.strategies import SeedSet

_LARGEST = 16384  # input elements, the campaign's default


class Passing:
    """Lets every failure pass, so that nothing is reduced; see `campaign.fuzzer.FailureSink`."""

    def claim(self, id_: str) -> bool:
        return False

    def found(self, *arguments: Any) -> None:
        raise AssertionError("nothing is new")

    reduced = found


def measure(source: SeedSet, runner: DifferentialRunner, seconds: float) -> dict[str, Any]:
    """One operator: trials, wall clock and its parts, in seconds. It is built and warm before the clock starts."""
    counts = {"trials": 0, "elements": 0}
    list(runner.trials((seed, None) for seed in source.seeds))
    runner.times = Times()

    def count(results: list[Result]) -> None:
        counts["trials"] += sum(r.platform != runner.reference_name for r in results)
        counts["elements"] += sum(r.case.elements for r in results)

    began = time.perf_counter()
    number = 0
    while time.perf_counter() - began < seconds:
        number += 1
        OperatorFuzzer(
            source,
            runner,
            Passing(),
            max_elements=_LARGEST,
            expired=lambda: time.perf_counter() - began > seconds,
            on_trial=count,
        ).search(128, 128 * (number - 1), number)
    elapsed = time.perf_counter() - began
    times = runner.times
    return {**counts, "elapsed": elapsed, **{name: getattr(times, name) for name in times.__dataclass_fields__}}


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
