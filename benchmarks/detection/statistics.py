"""From rows to figures: recall, time to detection, false positives, ratios."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.detection.model import Control
from benchmarks.detection.registry import controls, faults, subject_of
from benchmarks.detection.rows import Row

AT = (10, 50, 100, 500)
Interval = tuple[float, float, float]


def recall(rows: Sequence[Row], found: Callable[[Row], bool]) -> Interval:
    """Mean share of faults found, with a 95% interval: over seeds (Student's t), with one seed over faults (Wilson)."""
    by_seed: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        by_seed[row.seed].append(found(row))
    shares = [float(np.mean(seen)) for seen in by_seed.values()]
    if not shares:
        return math.nan, math.nan, math.nan
    centre = float(np.mean(shares))
    if len(shares) < 2:
        found_of = scipy.stats.binomtest(sum(map(found, rows)), len(rows)).proportion_ci(method="wilson")
        return centre, float(found_of.low), float(found_of.high)
    half = float(scipy.stats.t.ppf(0.975, len(shares) - 1) * np.std(shares, ddof=1) / math.sqrt(len(shares)))
    return centre, max(0.0, centre - half), min(1.0, centre + half)


def within(trials: int) -> Callable[[Row], bool]:
    """Found at that many trials."""
    return lambda row: row.first_trial is not None and row.first_trial <= trials


def of_method(rows: Sequence[Row], name: str) -> dict[str, Any]:
    """What the table says of one method."""
    mine = [r for r in rows if r.method == name]
    limited = [r for r in mine if r.what == "fault" and r.mode == "trials"]
    timed = [r for r in mine if r.what == "fault" and r.mode == "seconds"]
    return {
        "recall": {str(n): recall(limited, within(n)) for n in AT},
        "recall_10s": recall(timed, lambda row: row.first_trial is not None) if timed else None,
        "median_trials": middle(r.first_trial for r in limited),
        "median_seconds": middle(r.first_seconds for r in limited),
        "false_positives": false_positives([r for r in mine if r.what != "fault"]),
        "false_positives_held_out": false_positives([r for r in mine if r.what == "control" and held_out(r.name)]),
    }


def of_recordings(rows: Sequence[Row], name: str) -> dict[str, Any] | None:
    """How soon faults that activations reveal show on inputs as a model has them; None where that was not tried."""
    mine = [r for r in rows if r.method == name and r.mode == "realistic"]
    if not mine:
        return None
    return {
        "faults": len({r.name for r in mine}),
        "recall": {str(n): recall(mine, within(n)) for n in (1, 2, 10, 100)},
        "observed": recall(mine, lambda row: row.realism == "observed"),
        "median_trials": middle(r.first_trial for r in mine),
    }


def middle(values: Iterable[float | None]) -> float:
    """The median, a fault that was not found being infinitely late."""
    listed = [math.inf if v is None else float(v) for v in values]
    return median(listed) if listed else math.nan


def false_positives(rows: Sequence[Row]) -> dict[str, float]:
    """Accusations of correct implementations: how many of how many trials, per 10,000, and how many were accused."""
    trials, accusations = sum(r.trials for r in rows), sum(r.failures for r in rows)
    return {
        "trials": trials,
        "accusations": accusations,
        "per_10000": 1e4 * accusations / trials if trials else math.nan,
        "implementations": len({(r.what, r.name) for r in rows}),
        "accused": len({(r.what, r.name) for r in rows if r.failures}),
    }


def held_out(control: str) -> bool:
    """Every second control, by name, is kept from calibration."""
    return sorted(controls()).index(control) % 2 == 1


def of_family(rows: Sequence[Row], family: str) -> dict[str, Any]:
    """One method's rows in one family: recall, false positives, and `r` of correct implementations."""
    mine = [r for r in rows if r.mode == "trials" and family_of(r) == family]
    found, right = [r for r in mine if r.what == "fault"], [r for r in mine if r.what != "fault"]
    rounding = [x for r in right if not _moves(r) for x in r.ratios]
    moving = [x for r in right if _moves(r) for x in r.ratios]
    return {
        "faults": len({r.name for r in found}),
        "recall": {str(n): recall(found, within(n)) for n in AT},
        "median_trials": middle(r.first_trial for r in found),
        "false_positives": false_positives(right),
        "ratio": {"median": median(rounding), "largest": max(rounding)} if rounding else None,
        "largest_ratio_of_movement": max(moving) if moving else None,
    }


def family_of(row: Row) -> str:
    """The family of the subject of a row."""
    return subject_of(_thing(row)).family


def _moves(row: Row) -> bool:
    return subject_of(_thing(row)).moves


def _thing(row: Row) -> Control:
    return controls()[row.name] if row.what == "control" else faults()[row.name].candidate


def missed(rows: Sequence[Row], trials: int) -> dict[str, float]:
    """Faults that some seed missed, with the share of seeds that found them."""
    by_name: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.what == "fault" and row.mode == "trials":
            by_name[row.name].append(within(trials)(row))
    return {name: float(np.mean(seen)) for name, seen in by_name.items() if not all(seen)}
