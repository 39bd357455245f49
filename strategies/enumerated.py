"""The enumerated recipes: every single change worth trying once, in an order that covers much in few trials.

Hypothesis draws in clumps: it likes to repeat choices that it has made. That is what finds deep failures, and it can
leave a plain NaN undrawn for hundreds of cases. So the plain changes are enumerated before anything is drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from tapml_fuzz.core.case import LAYOUTS, Layout
from tapml_fuzz.strategies.multi_mutation import leading, multi_mutation_recipes
from tapml_fuzz.strategies.recipe import PHASES, Phase, Recipe, Step
from tapml_fuzz.strategies.recipes import FLOAT_STEPS, structure_choices
from tapml_fuzz.strategies.seed_set import SeedSet
from tapml_fuzz.strategies.shapes import LONG_SIZE, TELLING_SIZES, boundary_sizes
from tapml_fuzz.strategies.specials import SPECIALS

# Of every this many enumerated recipes, one is in another dtype (where there is any). Chosen: most stay in the recorded
# dtype, for which builds exist already.
_DTYPE_EVERY = 3


def enumerated_recipes(
    seed_set: SeedSet,
    *,
    dtypes: Sequence[str] = (),
    phases: Sequence[Phase] = PHASES,
    strided: bool = True,
    seed: int = 0,
) -> list[Recipe]:
    """First recipes that change much at once, then one for every single change, value, axis and slot.

    The order is drawn from `seed`. Kinds take turns, so that any first part of the list has some of each. `dtypes` are
    floating dtypes to cast to; the empty name among them stands for the recorded ones, which most recipes then keep.
    """
    random = np.random.Generator(np.random.SFC64(seed))
    others = tuple(d for d in dict.fromkeys(dtypes) if d)
    every = 1 if dtypes and "" not in dtypes else _DTYPE_EVERY
    first, *others_turns = (
        multi_mutation_recipes(seed_set, turn=turn, phases=phases, strided=strided, random=random) for turn in range(3)
    )
    single = [
        list(group)
        for group in (
            _shapes(seed_set),
            _specials(seed_set),
            _values(seed_set),
            _structure(seed_set),
            _layouts(seed_set) if strided else iter(()),
            (Recipe("recorded", number, dtype=dtype) for dtype in others for number in range(len(seed_set.seeds))),
        )
    ]
    single = [[recipe for recipe in group if recipe.phase in phases] for group in single]
    for group in single[1:]:
        random.shuffle(group)
        group.sort(key=lambda recipe: _rank(recipe, seed_set))
    groups = [[recipe for turn in others_turns for recipe in turn], *single]
    mixed = [recipe for turn in itertools.zip_longest(*groups) for recipe in turn if recipe is not None]
    return [_placed(r, number, seed_set, others, every, random) for number, r in enumerate([*first, *mixed])]


def _placed(
    recipe: Recipe, number: int, seed_set: SeedSet, dtypes: tuple[str, ...], every: int, random: np.random.Generator
) -> Recipe:
    """The recipe on a recorded case of its own turn, with its own entropy, one in `every` in another dtype."""
    dtype = recipe.dtype
    if not dtype and dtypes and number % every == every - 1:
        dtype = dtypes[(number // every) % len(dtypes)]
    return msgspec.structs.replace(
        recipe, seed_index=number % len(seed_set.seeds), rng_seed=int(random.integers(2**32)), dtype=dtype
    )


def _rank(recipe: Recipe, seed_set: SeedSet) -> int:
    """Changes of the largest tensor come first: it is what the operator is about, the others are its parameters."""
    if not recipe.steps:
        return 0
    slots = sorted(range(len(seed_set.profiles)), key=lambda s: -seed_set.seeds[0].tensors[s].size)
    return slots.index(recipe.steps[0].slot)


def _shapes(seed_set: SeedSet) -> Iterator[Recipe]:
    axes = [a for a in seed_set.operator.axis_names if a in seed_set.operator.symbolic_axes]
    first = leading(seed_set)
    for axis in sorted(axes, key=lambda a: a not in first):
        long = (*((other, 1) for other in axes if other != axis), (axis, LONG_SIZE))
        yield Recipe("shapes", sizes=long)
        # The largest value last: an index of it is as long as the axis.
        yield Recipe(
            "shapes", sizes=long, steps=tuple(Step("sorted-ascending", s) for s in seed_set.floating_slots[:1])
        )
    for size in sorted(TELLING_SIZES, key=bool):
        for axis in axes:
            yield Recipe("shapes", sizes=((axis, size),), refill=size % 2 == 1)
    for axis in seed_set.operator.axis_names:
        for number, size in enumerate((*boundary_sizes(seed_set.operator, axis), 0)):
            yield Recipe("shapes", sizes=((axis, size),), refill=number % 2 == 1)
    # One axis alone, the others 1: the number of elements of a flattened kernel is then at a boundary itself.
    for axis in seed_set.operator.axis_names[-1:]:
        for size in boundary_sizes(seed_set.operator, axis):
            yield Recipe("shapes", sizes=(*((o, 1) for o in seed_set.operator.axis_names if o != axis), (axis, size)))


def _specials(seed_set: SeedSet) -> Iterator[Recipe]:
    for slot in seed_set.floating_slots:
        for name in SPECIALS:
            for spread in (0.0, 2.0):
                yield Recipe("specials", steps=(Step("special", slot, spread, name),))
    for slot in seed_set.integer_slots:
        yield Recipe("values", steps=(Step("finite-rows", slot),))
        for name in ("zero", "one", "largest", "lowest"):
            yield Recipe("specials", steps=(Step("special", slot, 0.0, name),))


def _values(seed_set: SeedSet) -> Iterator[Recipe]:
    for slot in seed_set.floating_slots:
        for kind, amounts in FLOAT_STEPS.items():
            for amount in amounts:
                yield Recipe("values", steps=(Step(kind, slot, amount),))


def _structure(seed_set: SeedSet) -> Iterator[Recipe]:
    for kind, slot in structure_choices(seed_set):
        yield Recipe("structure", steps=(Step(kind, slot),))


def _layouts(seed_set: SeedSet) -> Iterator[Recipe]:
    every = len(seed_set.profiles)
    for layout in LAYOUTS[1:]:
        yield Recipe("recorded", layouts=(layout,) * every)
        for slot in range(every if every > 1 else 0):
            mixed: tuple[Layout, ...] = tuple(layout if s == slot else LAYOUTS[0] for s in range(every))
            yield Recipe("recorded", layouts=mixed)
