"""Element types by name: numpy holds every tensor, ml_dtypes supplies bfloat16."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOATS = ("float64", "float32", "bfloat16", "float16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
NAMES = (*FLOATS, *INTEGERS, "bool")


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype called `name`; raises `ValueError` for a name not in `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(NAMES)}")
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def name_of(array: Array) -> str:
    """The dtype's name as used throughout (`"float32"`, `"bfloat16"`, `"bool"`, ...)."""
    return _name(array.dtype)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def is_float(name: str) -> bool:
    """Tell whether the dtype of that name is floating."""
    return name in FLOATS


@cache
def limits(name: str) -> Any:
    """`finfo` of a floating dtype: `max`, `smallest_normal`, `smallest_subnormal`, `eps`, as numpy defines them."""
    return ml_dtypes.finfo(numpy_dtype(name))


@cache
def largest(name: str) -> float:
    """Largest finite value."""
    return float(limits(name).max)


@cache
def smallest_normal(name: str) -> float:
    """Smallest positive normal number of a floating dtype."""
    return float(limits(name).smallest_normal)


@cache
def smallest_subnormal(name: str) -> float:
    """Smallest positive number of a floating dtype, which is subnormal."""
    return float(limits(name).smallest_subnormal)


@cache
def unit_roundoff(name: str) -> float:
    """Half the distance from 1 to the next number: the relative error of rounding to nearest (Higham 2002, 2.1)."""
    return float(limits(name).eps) / 2


def to_bits(array: Array) -> Array:
    """The raw bits of a tensor as unsigned integers of the same width (what wire and files carry)."""
    contiguous = np.ascontiguousarray(array).reshape(array.shape)
    return contiguous.view(np.dtype(f"uint{8 * array.dtype.itemsize}"))


def from_bits(raw: bytes | bytearray | memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    """The inverse of `to_bits(...).tobytes()`; the result is a writable copy.

    Raises `ValueError` when the number of bytes does not fit `shape`.
    """
    return np.frombuffer(raw, dtype=numpy_dtype(dtype)).reshape(shape).copy()
