"""Patterns that fill an output before a run, so that an element nobody wrote can be told."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from tapml_fuzz.core.dtypes import Array, numpy_dtype, to_bits

# Two patterns per element width, told apart by their bits. Read as any float of that width each is a quiet NaN with
# an unusual payload (a signalling one might be changed by a mere copy); read as a bool, each is neither 0 nor 1.
_PATTERNS: dict[int, tuple[int, int]] = {
    1: (0xA5, 0x5B),
    2: (0x7FE5, 0xFFDB),
    4: (0x7FE5_A55A, 0xFFDB_5BB6),
    8: (0x7FFD_A55A_A55A_A55A, 0xFFFB_5BB6_5BB6_5BB6),
}

# glibc's M_PERTURB (mallopt(3)): fresh memory is filled with the complement of this byte, 0x7F, a huge number as a
# float.
_M_PERTURB, _PERTURB_BYTE = -6, 0x80


def poisoned(shape: tuple[int, ...], dtype: str, which: int = 0) -> Array:
    """A packed array of `shape` and `dtype` whose elements hold the first (`which` is 0) or the second (1) pattern."""
    width = numpy_dtype(dtype).itemsize
    return np.full(shape, _PATTERNS[width][which], np.dtype(f"uint{8 * width}")).view(numpy_dtype(dtype))


def untouched(array: Array, which: int = 0) -> Array:
    """Boolean mask, of the array's shape, of the elements that hold the pattern."""
    return np.asarray(to_bits(array) == _PATTERNS[array.dtype.itemsize][which])


def suspicious(outputs: Sequence[Array]) -> bool:
    """Whether any element holds the first pattern: only then is a second run, with the other pattern, needed."""
    return any(bool(untouched(output).any()) for output in outputs)


def unwritten(first: Sequence[Array], second: Sequence[Array]) -> tuple[int, ...]:
    """Per output, how many elements held the pattern in both runs: a value computed would be the same in both."""
    return tuple(int((untouched(a, 0) & untouched(b, 1)).sum()) for a, b in zip(first, second, strict=True))


def perturb_fresh_memory() -> None:
    """Make memory show that compiled code allocates itself, out of our reach, and reads before it is written.

    For the whole process, from now on; does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_PERTURB, _PERTURB_BYTE)
