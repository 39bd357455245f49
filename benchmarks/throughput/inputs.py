"""The cases that are timed: recorded seeds and what the enumerated recipes make of them, by size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tapml_fuzz.core.case import Case
from tapml_fuzz.strategies import SeedSet, enumerated_recipes, realise

# "Near 4k elements": all inputs of a case together.
NEAR = range(2048, 6145)
_SEED = 1
_LARGEST = 16384  # the campaign's default


def cases(source: SeedSet, sizes: range, count: int) -> list[Case]:
    """The first `count` cases of recorded dtypes whose inputs have that many elements together."""
    return list(islice((case for case in _all(source) if case.elements in sizes), count))


def _all(source: SeedSet) -> Iterator[Case]:
    yield from source.seeds
    for recipe in enumerated_recipes(source, seed=_SEED):
        case = realise(recipe, source, min(NEAR.stop, _LARGEST))
        if case is not None and case.dtypes == source.operator.dtypes:
            yield case
