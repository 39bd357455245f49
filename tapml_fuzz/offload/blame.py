"""Blame for a model that fails: the smallest set of moved units, and the error's way through the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.walk_summary import Growth
from tapml_fuzz.judge import judge
from tapml_fuzz.offload.hybrid import Assignment, CannotRun, Hybrid
from tapml_fuzz.offload.ledger import written
from tapml_fuzz.offload.subject import Grown, ModelCheck, Subject
from tapml_fuzz.offload.tolerance import truth_of

# Values shown of a failure's way: the first outside the bound, what led there, and the model's result. As many as a
# screen has lines.
_SHOWN = 24


def smallest_failing(items: Sequence[str], fails: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """A subset of `items` that fails and of which no item can be left out (`items` fails, in their order).

    This is ddmin of Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002.
    """
    if fails(frozenset()):
        return ()
    current, granularity = list(items), 2
    while len(current) >= 2:
        size = -(-len(current) // granularity)
        parts = [current[i : i + size] for i in range(0, len(current), size)]
        rests = [[item for item in current if item not in part] for part in parts] if len(parts) > 2 else []
        if (smaller := next((p for p in parts if fails(frozenset(p))), None)) is not None:
            current, granularity = smaller, 2
        elif (rest := next((r for r in rests if fails(frozenset(r))), None)) is not None:
            current, granularity = rest, max(granularity - 1, 2)
        elif granularity < len(current):
            granularity = min(len(current), 2 * granularity)
        else:
            break
    return tuple(current)


def partners(
    check: Callable[[Assignment], ModelCheck], target: str, unit: str, moved: Sequence[str]
) -> tuple[str, ...] | None:
    """Those of the units moved before that must be on the target too for `unit` to fail there; often none.

    None where the failure does not hang on `unit`: it does not come again with all of them, or comes without `unit`.
    """
    known: dict[frozenset[str], bool] = {}

    def fails(others: frozenset[str]) -> bool:
        if others not in known:
            known[others] = breaks(check, dict.fromkeys((unit, *others), target))
        return known[others]

    if not fails(frozenset(moved)) or breaks(check, dict.fromkeys(moved, target)):
        return None  # it does not fail every time, so nothing can be taken away from it
    return smallest_failing(moved, fails)


def breaks(check: Callable[[Assignment], ModelCheck], assignment: Assignment) -> bool:
    """Tell whether the model leaves its bound, or does not run."""
    try:
        return check(assignment).failed
    except CannotRun:
        return True


def growth(subject: Subject, hybrid: Hybrid, assignment: Assignment, check: ModelCheck) -> tuple[Growth, ...]:
    """The way of a failure: values as far out as any before them, up to the first outside the bound and on to the end.

    Each is also computed alone, on the platform where it was, from the reference run's values: a step that is right
    alone only passes on what came before.
    """
    shown = shown_of(check)
    return tuple(
        Growth(g.step, g.module, g.key, written(g.ratio), _forced(subject, hybrid, assignment, g)) for g in shown
    )


def shown_of(check: ModelCheck) -> list[Grown]:
    """The values of a failed run that show where the failure comes from."""
    way, highest = [], 0.0
    for number, grown in enumerate(check.grown):
        if grown.ratio > highest or number == len(check.grown) - 1:
            way.append(grown)
            highest = max(highest, grown.ratio)
    first = next((i for i, g in enumerate(way) if g.ratio > 1), 0)
    start = max(0, first - _SHOWN // 2)
    return [*way[start : start + _SHOWN - 1], *way[start + _SHOWN - 1 :][-1:]]


def _forced(subject: Subject, hybrid: Hybrid, assignment: Assignment, grown: Grown) -> float | None:
    recording = subject.recordings[grown.recording]
    step = next(s for s in recording.steps if s.name == grown.step)
    own = truth_of(recording, step, subject.policy)
    if own is None:
        return None
    platform = assignment.get(step.operator.key, subject.reference)
    try:
        outputs = hybrid.alone(recording, step, platform)
    except CannotRun:
        return None
    return written(judge(recording.case(step), Ok(tuple(outputs)), own).metrics.ratio)
