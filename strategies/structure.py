"""Masks and indices: kept valid, except where the phase is about their limits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.operator import Index, Operator
from tapml_fuzz.core.profile import Profile
from tapml_fuzz.strategies.values import Random, stored

MASK_STEPS = ("mask-none", "mask-all", "mask-row", "mask-prefix", "mask-causal", "mask-random")
INDEX_STEPS = ("index-first", "index-last", "index-repeat", "index-random", "index-negative")


def mask(kind: str, array: Array, profile: Profile, random: Random) -> Array:
    """The same mask dtype and values in another arrangement: nothing, everything, one row, a suffix, the future."""
    if array.size == 0:
        return array
    hidden, shown = _mask_values(array, profile)
    keep = np.ones(array.shape, dtype=bool)
    width = array.shape[-1] if array.ndim else 1
    match kind:
        case "mask-all":
            keep[...] = False
        case "mask-row" if array.ndim > 1:
            keep.reshape(-1, width)[random.integers(array.size // width)] = False
        case "mask-prefix":
            lengths = random.integers(1, width + 1, size=(*array.shape[:-1], 1))
            keep[...] = np.arange(width) < lengths
        case "mask-causal" if array.ndim > 1:
            keep[...] = np.tri(array.shape[-2], width, dtype=bool)
        case "mask-random":
            keep[...] = random.random(array.shape) < 0.5
    return np.where(keep, shown, hidden)


def _mask_values(array: Array, profile: Profile) -> tuple[Array, Array]:
    name = name_of(array)
    if name == "bool":
        return np.asarray(False), np.asarray(True)
    values = profile.values or (float(profile.low), 0.0)
    return stored(np.asarray(values[0], np.float64), name), stored(np.asarray(values[-1], np.float64), name)


def index(kind: str, array: Array, spec: Index, sizes: Mapping[str, int], random: Random) -> Array:
    """Indices at the limits of their axis: all first, all last, one repeated, uniform, negative where legal."""
    extent = spec.extent.value(sizes)
    if extent == 0 or array.size == 0:
        return array
    match kind:
        case "index-first":
            values = np.zeros(array.shape, np.int64)
        case "index-last":
            values = np.full(array.shape, extent - 1)
        case "index-repeat":
            values = np.full(array.shape, random.integers(extent))
        case "index-negative" if spec.negative:
            values = random.integers(-extent, extent, size=array.shape)
        case _:
            values = random.integers(extent, size=array.shape)
    return values.astype(array.dtype)


def valid_indices(operator: Operator, tensors: list[Array], sizes: Mapping[str, int]) -> list[Array] | None:
    """Bring indices back into range after a change of sizes; None where the axis is empty but indices are not."""
    for spec in operator.indexes:
        extent, array = spec.extent.value(sizes), tensors[spec.slot]
        if array.size and extent == 0:
            return None
        if array.size:
            low = -extent if spec.negative else 0
            outside = (array < low) | (array >= extent)
            if outside.any():
                tensors[spec.slot] = np.where(outside, np.mod(array, extent), array).astype(array.dtype)
    return tensors
