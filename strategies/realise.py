"""From a recipe to a concrete case: the same recipe and seed set always give the same bytes."""

from __future__ import annotations

import numpy as np

from tapml_fuzz.core.case import PACKED, Case
from tapml_fuzz.core.dtypes import Array, is_float, name_of
from tapml_fuzz.strategies import row_patterns, shapes, specials, structure, values
from tapml_fuzz.strategies.recipe import Recipe, Step
from tapml_fuzz.strategies.seed_set import SeedSet


def realise(recipe: Recipe, seed_set: SeedSet, max_elements: int = 16384) -> Case | None:
    """The case a recipe describes, of at most about `max_elements` input elements (the recorded sizes may exceed it).

    None when no such case exists (an index into an axis of size zero).
    """
    seed = seed_set.seeds[recipe.seed_index % len(seed_set.seeds)]
    random = np.random.Generator(np.random.SFC64(recipe.rng_seed))
    changed = frozenset(axis for axis, _ in recipe.sizes)
    sizes = dict(seed.sizes)
    tensors = list(seed.tensors)
    if changed:
        sizes.update(recipe.sizes)
        sizes = shapes.fit(seed_set.operator, sizes, changed, shapes.limit(recipe.sizes, max_elements))
        tensors = [
            _at_shape(recipe, seed_set, slot, shape, tensors[slot], sizes, random)
            for slot, shape in enumerate(seed_set.operator.shapes(sizes))
        ]
        if not shapes.affordable(seed_set.operator, tensors, sizes):
            return None
    if recipe.dtype:
        for slot in seed_set.floating_slots:
            tensors[slot] = values.stored(tensors[slot], recipe.dtype)
    with np.errstate(all="ignore"):  # mutations overflow and subtract infinities on purpose
        for step in recipe.steps:
            # numpy turns 0-d arithmetic into scalars; a tensor stays one
            tensors[step.slot] = np.asarray(_mutated(step, seed_set, tensors[step.slot], sizes, random))
    fixed = structure.valid_indices(seed_set.operator, tensors, sizes)
    if fixed is None:
        return None
    moved = any(layout != PACKED for layout in recipe.layouts)
    as_recorded = not (changed or recipe.steps or moved) and _same_dtypes(tensors, seed)
    return Case(seed_set.operator, sizes, tuple(fixed), recipe.layouts, seed.origin if as_recorded else recipe.phase)


def _same_dtypes(tensors: list[Array], seed: Case) -> bool:
    return all(t.dtype == s.dtype for t, s in zip(tensors, seed.tensors, strict=True))


def _at_shape(
    recipe: Recipe,
    seed_set: SeedSet,
    slot: int,
    shape: tuple[int, ...],
    recorded: Array,
    sizes: dict[str, int],
    random: values.Random,
) -> Array:
    if recorded.shape == shape and not (recipe.refill and slot in seed_set.index_slots):
        return recorded
    profile = seed_set.profiles[slot]
    if recipe.refill and slot in seed_set.index_slots:
        spec = next(i for i in seed_set.operator.indexes if i.slot == slot)
        return structure.index("index-random", values.tiled(recorded, shape), spec, sizes, random)
    if recipe.refill and profile.structure in ("dense", "constant") and is_float(name_of(recorded)):
        return values.stored(values.resampled(profile, shape, random), name_of(recorded))
    return values.tiled(recorded, shape)


def _mutated(step: Step, seed_set: SeedSet, array: Array, sizes: dict[str, int], random: values.Random) -> Array:
    profile = seed_set.profiles[step.slot]
    match step.kind:
        case "scale":
            return values.scaled(array, step.amount)
        case "shift":
            return values.shifted(array, profile, step.amount)
        case "resample":
            return values.stored(values.resampled(profile, array.shape, random), name_of(array))
        case "channel-scale":
            return values.channel_scaled(array, step.amount, random)
        case "outliers":
            return values.with_outliers(array, profile, step.amount, random)
        case "collapse":
            return values.collapsed(array, step.amount)
        case "equal-rows":
            return values.equal_rows(array)
        case "equal-elements":
            return values.equal_elements(array)
        case "sorted-ascending" | "sorted-descending":
            return values.sorted_rows(array, step.kind.endswith("descending"))
        case "finite-rows":
            return row_patterns.finite_rows(array, profile, random)
        case "special-rows":
            return row_patterns.special_rows(array, profile, random)
        case "special":
            return specials.placed(array, step.name, int(step.amount), random)
        case kind if kind in structure.MASK_STEPS:
            return structure.mask(kind, array, profile, random)
        case kind if kind in structure.INDEX_STEPS:
            spec = next(i for i in seed_set.operator.indexes if i.slot == step.slot)
            return structure.index(kind, array, spec, sizes, random)
        case kind:
            raise ValueError(f"unknown mutation {kind!r}")
