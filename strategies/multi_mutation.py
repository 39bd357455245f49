"""Recipes that come first: they change shape, values, structure, layout and dtype at once.

One such case tests what would otherwise take a case each; what fails is taken apart by reduction. Changes that could
hide others (NaN spreads) are left to every third recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tapml_fuzz.core.case import LAYOUTS, Layout
from tapml_fuzz.strategies.recipe import PHASES, Phase, Recipe, Step
from tapml_fuzz.strategies.recipes import structure_choices
from tapml_fuzz.strategies.seed_set import SeedSet
from tapml_fuzz.strategies.shapes import TELLING_SIZES, elements, fit

# Sizes of the axes beside the one that is at a boundary: small, mostly odd, all different.
_BESIDE = (5, 3, 7, 2, 9, 11)
# Every axis the same: where a kernel takes one for another, only a square lets it run at all.
_SQUARES = (17, 9, 8, 12)
_SMALL = 16384  # input elements, as `realise` has them where nobody says otherwise
# What a recipe does to the values of a tensor, in turns.
_ROWS = ("", "finite-rows", "special-rows")


def multi_mutation_recipes(
    seed_set: SeedSet,
    *,
    turn: int = 0,
    phases: Sequence[Phase] = PHASES,
    strided: bool = True,
    random: np.random.Generator,
) -> list[Recipe]:
    """A recipe for each telling size of each leading axis, squares among them.

    The three turns have the same shapes: what one leaves as recorded, the next fills with situations row by row.
    """
    structures = list(structure_choices(seed_set)) if "structure" in phases else []
    random.shuffle(structures)
    sizes = list(_sizes(seed_set, turn)) if "shapes" in phases else []
    return [
        _recipe(seed_set, number, number + turn, at, structures, phases, strided)
        for number, at in enumerate(sizes or [()] * len(TELLING_SIZES))
    ]


def _recipe(
    seed_set: SeedSet,
    number: int,
    kind: int,
    sizes: tuple[tuple[str, int], ...],
    structures: Sequence[tuple[str, int]],
    phases: Sequence[Phase],
    strided: bool,
) -> Recipe:
    phase: Phase = ("shapes", "values", "specials")[kind % 3]
    steps = [Step(*structures[number % len(structures)])] if structures and number % 3 else []
    if phase in phases and phase != "shapes":
        steps += [Step(_ROWS[kind % 3], slot) for slot in _slots(seed_set, number)]
    layouts: tuple[Layout, ...] = (LAYOUTS[number % 4],) * len(seed_set.profiles) if strided and number % 4 else ()
    return Recipe(
        phase if phase in phases else "recorded",
        sizes=sizes,
        refill=number % 2 == 0,
        steps=tuple(steps),
        layouts=layouts,
    )


def leading(seed_set: SeedSet) -> list[str]:
    """Axes that blocks and tails are most often about: the last of a tensor, and those that indices reach into."""
    operator = seed_set.operator
    last = [size.axes[0] for axes in operator.axes for size in axes[-1:] if len(size.axes) == 1]
    reached = [index.extent.axes[0] for index in operator.indexes if len(index.extent.axes) == 1]
    found = [a for a in dict.fromkeys((*last, *reached)) if a in operator.symbolic_axes]
    return found or [a for a in reversed(operator.axis_names) if a in operator.symbolic_axes]


def _sizes(seed_set: SeedSet, turn: int) -> Iterator[tuple[tuple[str, int], ...]]:
    operator = seed_set.operator
    axes = [a for a in operator.axis_names if a in operator.symbolic_axes]
    number = 0
    for place, size in enumerate(TELLING_SIZES):
        for main in leading(seed_set):
            # Where values are as recorded the others are 1, so that the number of elements is at the boundary as well.
            alone = size == 1 or ((number + turn) % 3 == 0 and number % 2 == 1)
            others = [a for a in axes if a != main]
            beside = {axis: 1 if alone else _BESIDE[(i + place) % len(_BESIDE)] for i, axis in enumerate(others)}
            fixed = {axis: seed_set.seeds[0].sizes[axis] for axis in operator.axis_names if axis not in axes}
            fitted = fit(operator, {**fixed, **beside, main: size}, frozenset({main}), _SMALL)
            yield tuple((axis, fitted[axis]) for axis in (*others, main))
            number += 1
        if place % 3 == 2 and len(axes) > 1:
            yield tuple((axis, _SQUARES[(place // 3) % len(_SQUARES)]) for axis in axes)
            number += 1
    if len(axes) > 1 and elements(operator, dict.fromkeys(operator.axis_names, TELLING_SIZES[0])) <= _SMALL:
        yield tuple((axis, TELLING_SIZES[0]) for axis in axes)


def _slots(seed_set: SeedSet, number: int) -> tuple[int, ...]:
    """One tensor of values at a time; every fourth time all of them, so that situations meet."""
    slots = seed_set.floating_slots or seed_set.integer_slots
    if not slots or number % 4 == 3:
        return slots
    return (slots[(number // 3) % len(slots)],)
