"""Numbers with a meaning of their own: signed zeros, subnormals, the largest finite value, infinities, NaN."""

from __future__ import annotations

import numpy as np

from tapml_fuzz.core.dtypes import Array, is_float, largest, name_of, numpy_dtype, smallest_normal, smallest_subnormal
from tapml_fuzz.strategies.values import Random

SPECIALS = (
    "zero", "negative-zero", "one", "subnormal", "smallest-normal", "largest", "lowest", "inf", "-inf", "nan",
    "nan-payload",
)  # fmt: skip


def special(name: str, dtype: str) -> Array:
    """The special value of that name in a floating dtype, as an array of no axes.

    `nan-payload` has every bit set: its sign sorts it before everything, and rounding its significand up, as if it were
    a number's, makes a zero of it.
    """
    if name == "nan-payload":
        width = numpy_dtype(dtype).itemsize
        bits = np.asarray(2 ** (8 * width) - 1, f"uint{8 * width}")
        return bits.view(numpy_dtype(dtype))
    value = {
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
    return np.asarray(value).astype(numpy_dtype(dtype))


def placed(array: Array, name: str, spread: int, random: Random) -> Array:
    """The special value in one element (`spread` 0), one row (1) or everywhere (2)."""
    dtype = name_of(array)
    if array.size == 0 or not is_float(dtype):
        return _integer_limit(array, name, random)
    value = special(name, dtype)
    array = array.copy()
    if spread == 2 or array.ndim == 0:
        array[...] = value
    elif spread == 1:
        width = array.shape[-1]
        array.reshape(-1, width)[random.integers(array.size // width)] = value
    else:
        array.reshape(-1)[random.integers(array.size)] = value
    return array


def integer_limits(array: Array) -> tuple[int, int]:
    """The range of an integer dtype, without the lowest number of 32 and 64 bits.

    Divided by -1 that one traps in the processor (torch 2.13 dies of it), the process with it. Narrower integers are
    widened before they are divided.
    """
    info = np.iinfo(array.dtype)
    return info.min + (info.bits >= 32 and info.min < 0), info.max


def _integer_limit(array: Array, name: str, random: Random) -> Array:
    if array.size == 0 or array.dtype.kind not in "iu":
        return array
    low, high = integer_limits(array)
    value = {"largest": high, "lowest": low, "zero": 0, "one": 1}.get(name)
    if value is None:
        return array
    array = array.copy()
    array.reshape(-1)[random.integers(array.size)] = value
    return array
