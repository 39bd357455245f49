"""Numbers with a meaning of their own: signed zeros, subnormals, the largest finite value, infinities, NaN."""

from __future__ import annotations

import numpy as np

from strategies.values import Random
from tapml_fuzz.core.dtypes import Array, is_float, largest, limits, name_of, smallest_normal, smallest_subnormal

SPECIALS = (
    "zero", "negative-zero", "one", "subnormal", "smallest-normal", "largest", "lowest", "inf", "-inf", "nan",
)  # fmt: skip


def special(name: str, dtype: str) -> float:
    """The special value of that name in a floating dtype."""
    return {
        "zero": 0.0,
        "negative-zero": -0.0,
        "one": 1.0,
        "subnormal": 3 * smallest_subnormal(dtype),
        "smallest-normal": smallest_normal(dtype),
        "largest": largest(dtype),
        "lowest": -largest(dtype),
        "inf": np.inf,
        "-inf": -np.inf,
        "nan": np.nan,
    }[name]


def placed(array: Array, name: str, spread: int, random: Random) -> Array:
    """The special value in one element (`spread` 0), one row (1) or everywhere (2)."""
    dtype = name_of(array)
    if array.size == 0 or not is_float(dtype):
        return _integer_limit(array, name, random)
    value = np.float64(special(name, dtype)).astype(limits(dtype).dtype)
    array = array.copy()
    if spread == 2 or array.ndim == 0:
        array[...] = value
    elif spread == 1:
        width = array.shape[-1]
        array.reshape(-1, width)[random.integers(array.size // width)] = value
    else:
        array.reshape(-1)[random.integers(array.size)] = value
    return array


def _integer_limit(array: Array, name: str, random: Random) -> Array:
    if array.size == 0 or array.dtype.kind not in "iu":
        return array
    info = np.iinfo(array.dtype)
    value = {"largest": info.max, "lowest": info.min, "zero": 0, "one": 1}.get(name)
    if value is None:
        return array
    array = array.copy()
    array.reshape(-1)[random.integers(array.size)] = value
    return array
