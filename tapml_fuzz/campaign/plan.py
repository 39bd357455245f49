"""The order of work: every operator in turn, recorded seeds first, then ever longer slices of drawn recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.seeding import slice_seed

# Examples per operator in the first slice; later slices double up to the last, where steering pays.
_FIRST_SLICE, _LAST_SLICE = 16, 128


@dataclass(frozen=True)
class Task:
    """One slice of work on one operator: replay `examples` recorded seeds, or run as many recipes.

    Recipes are numbered through per operator: `start` is the first of the slice. When all enumerated
    recipes have been used, they are drawn from `seed`. `as_recorded` keeps to the recorded dtypes, for which the replay
    has made the builds.
    """

    operator: str
    examples: int
    seed: int
    start: int = 0
    replay: bool = False
    as_recorded: bool = False


def plan(operators: dict[str, int], platforms: int, budget: Budget, seed: int) -> Iterator[Task]:
    """Tasks in order; `operators` maps each key to its number of recorded seeds.

    With a budget of trials the plan is finite and depends on nothing but its arguments, so the same seed and budget
    give the same cases whatever the number of workers. With a budget of time it goes on for ever; every operator gets
    a first slice before any is built again for other dtypes. Without operators there is nothing to do.
    """
    if not operators:
        return
    if budget.trials is not None:
        yield from _within(operators, max(1, budget.trials // max(1, platforms)), seed)
        return
    for key, seeds in operators.items():
        yield Task(key, seeds, 0, replay=True)
    size, number, start = _FIRST_SLICE, 0, 0
    while True:
        for key in operators:
            yield Task(key, size, slice_seed(seed, key, number), start, as_recorded=number == 0)
        start += size
        size, number = min(2 * size, _LAST_SLICE), number + 1


def _within(operators: dict[str, int], examples: int, seed: int) -> Iterator[Task]:
    shares = [examples // len(operators) + (i < examples % len(operators)) for i in range(len(operators))]
    replays = {key: min(seeds, (share + 1) // 2) for (key, seeds), share in zip(operators.items(), shares, strict=True)}
    for key, count in replays.items():
        if count:
            yield Task(key, count, 0, replay=True)
    for key, share in zip(operators, shares, strict=True):
        left, number = share - replays[key], 0
        while left > 0:
            yield Task(key, min(left, _LAST_SLICE), slice_seed(seed, key, number), number * _LAST_SLICE)
            left, number = left - _LAST_SLICE, number + 1
