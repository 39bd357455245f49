"""What a process of its own costs a trial: the same cases here and in a worker, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.throughput.inputs import NEAR, cases
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.engine.prefetch import WINDOW
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.strategies import SeedSet


def overhead(name: str, sources: Mapping[str, SeedSet], seconds: float) -> dict[str, Any]:
    """Milliseconds of a trial near 4k elements here, by itself in a worker, and in a window: medians over operators.

    Of an operator's repetitions the quickest counts, since what makes one slower is other processes (as in `timeit`).
    `single_costs` and `window_costs` are the medians of the differences per operator.
    """
    rows = []
    with InProcessSession(name) as here, WorkerSession(name) as there:
        for source in sources.values():
            row = _operator(here, there, source, seconds / len(sources))
            if row is not None:
                rows.append(row)

    def middle(of: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(of(row) for row in rows)

    return {
        "operators": len(rows),
        "local": middle(lambda row: row["local"]),
        "single": middle(lambda row: row["single"]),
        "window": middle(lambda row: row["window"]),
        "single_costs": middle(lambda row: row["single"] - row["local"]),
        "window_costs": middle(lambda row: row["window"] - row["local"]),
    }


def _operator(here: Session, there: Session, source: SeedSet, seconds: float) -> dict[str, float] | None:
    given = [case for case in cases(source, NEAR, WINDOW) if all(isinstance(s.run(case), Ok) for s in (here, there))]
    if not given:
        return None
    window = [given[n % len(given)] for n in range(WINDOW)]
    ways: dict[str, Callable[[], object]] = {
        "local": lambda: _one_by_one(here, window),
        "single": lambda: _one_by_one(there, window),
        "window": lambda: list(there.run_many(window)),
    }
    seen: dict[str, list[float]] = {way: [] for way in ways}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not seen["window"]:
        for way, run in ways.items():
            began = time.perf_counter()
            run()
            seen[way].append(1e3 * (time.perf_counter() - began) / len(window))
    return {way: min(times) for way, times in seen.items()}


def _one_by_one(session: Session, window: list[Case]) -> None:
    for case in window:
        session.run(case)
