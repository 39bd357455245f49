"""The first moves: recipes that change shape, values, structure, layout and dtype at once.

One such case tests what would otherwise take a case each; what fails is taken apart by reduction. Changes that could
hide others (NaN spreads) are left to every third recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from strategies.recipes import PHASES, Phase, Recipe, Step, structure_choices
from strategies.shapes import TELLING_SIZES
from strategies.source import Source
from tapml_fuzz.core.case import LAYOUTS, Layout

# Sizes of the axes beside the one that is at a boundary: small, odd, all different.
_BESIDE = (5, 3, 7, 2, 9, 11)
# Every axis the same: where a kernel takes one for another, only a square lets it run at all.
_SQUARES = (17, 8)


def combined(
    source: Source, *, phases: Sequence[Phase] = PHASES, strided: bool = True, random: np.random.Generator
) -> list[Recipe]:
    """A recipe for each telling size of each leading axis, squares among them."""
    structures = list(structure_choices(source)) if "structure" in phases else []
    random.shuffle(structures)
    sizes = list(_sizes(source)) if "shapes" in phases else [()] * len(TELLING_SIZES)
    return [
        Recipe(
            _phase(number, phases),
            sizes=at,
            refill=number % 2 == 0,
            steps=(*_structure(structures, number), *_rows(source, number, phases)),
            layouts=_layouts(source, number) if strided else (),
        )
        for number, at in enumerate(sizes or [()] * len(TELLING_SIZES))
    ]


def leading(source: Source) -> list[str]:
    """Axes that blocks and tails are most often about: the last of a tensor, and those that indices reach into."""
    operator = source.operator
    last = [size.axes[0] for axes in operator.axes for size in axes[-1:] if len(size.axes) == 1]
    reached = [index.extent.axes[0] for index in operator.indexes if len(index.extent.axes) == 1]
    found = [a for a in dict.fromkeys((*last, *reached)) if a in operator.symbolic_axes]
    return found or [a for a in reversed(operator.axis_names) if a in operator.symbolic_axes]


def _phase(number: int, phases: Sequence[Phase]) -> Phase:
    """What a recipe is mostly about."""
    phase: Phase = ("shapes", "values", "specials")[number % 3]
    return phase if phase in phases else "seed"


def _sizes(source: Source) -> Iterator[tuple[tuple[str, int], ...]]:
    axes = [a for a in source.operator.axis_names if a in source.operator.symbolic_axes]
    for turn, size in enumerate(TELLING_SIZES):
        for number, main in enumerate(leading(source)):
            # Every second time the others are 1, so that the number of elements is at the boundary as well.
            alone = (turn + number) % 2 == 1
            others = [a for a in axes if a != main]
            beside = [(axis, 1 if alone else _BESIDE[(i + turn) % len(_BESIDE)]) for i, axis in enumerate(others)]
            yield (*beside, (main, size))
        if turn % 3 == 2 and len(axes) > 1:
            yield tuple((axis, _SQUARES[(turn // 3) % len(_SQUARES)]) for axis in axes)


def _structure(choices: Sequence[tuple[str, int]], number: int) -> tuple[Step, ...]:
    if not choices or number % 2 == 0:
        return ()
    kind, slot = choices[(number // 2) % len(choices)]
    return (Step(kind, slot),)


def _rows(source: Source, number: int, phases: Sequence[Phase]) -> tuple[Step, ...]:
    """Many values at once, in one slot: spread over its rows."""
    slots = source.floating_slots or source.integer_slots
    if not slots:
        return ()
    slot = slots[(number // 3) % len(slots)]
    if number % 3 == 1 and "values" in phases:
        return (Step("finite-rows", slot),)
    if number % 3 == 2 and "specials" in phases:
        return (Step("special-rows", slot),)
    return ()


def _layouts(source: Source, number: int) -> tuple[Layout, ...]:
    if number % 4 == 0:
        return ()
    return (LAYOUTS[number % 4],) * len(source.profiles)
