"""Simpler values, simplest first: what a developer would rather read in a reproducer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array, is_float, largest, name_of, smallest_normal


def ordinary(tensor: Array) -> Array:
    """The tensor with zero for whatever is not an ordinary number; itself when all are."""
    dtype = name_of(tensor)
    if not is_float(dtype):
        return tensor
    size = np.abs(tensor.astype(np.float64))
    odd = ~((size == 0) | ((size >= smallest_normal(dtype)) & (size <= largest(dtype) / 4)))
    return np.where(odd, np.zeros((), tensor.dtype), tensor) if odd.any() else tensor


def simpler_tensors(tensor: Array) -> Iterator[Array]:
    """Whole-tensor simplifications that change the tensor: zeros, ones, its first value everywhere, rounded."""
    if tensor.size == 0:
        return
    candidates = [np.zeros_like(tensor), np.ones_like(tensor)]
    if tensor.dtype != np.bool_:
        candidates.append(np.full_like(tensor, tensor.reshape(-1)[0]))
    if is_float(name_of(tensor)):
        wide = tensor.astype(np.float64)
        with np.errstate(all="ignore"):
            candidates += [np.round(wide, decimals).astype(tensor.dtype) for decimals in (0, 1, 2)]
    for candidate in candidates:
        if _simplicity(candidate) < _simplicity(tensor):
            yield candidate


def simpler_elements(value: Any) -> Iterator[Any]:
    """Simpler values than one element, simplest first; each is strictly simpler, so reduction ends."""
    kind = value.dtype.type
    if value.dtype == np.bool_:
        if value:
            yield kind(False)
        return
    wide = float(value)
    candidates = [0.0, 1.0, -1.0]
    if math.isfinite(wide):
        candidates += [float(round(wide)), math.floor(wide), math.ceil(wide)]
        candidates += [float(f"{wide:.{digits}g}") for digits in (1, 2, 3, 4)]
    for candidate in candidates:
        with np.errstate(all="ignore"):
            simpler = np.float64(candidate).astype(value.dtype)
        if _rank(float(simpler)) < _rank(wide):
            yield simpler


def _rank(value: float) -> tuple[int, int, float]:
    """Zero, then one, then numbers with few digits, then infinities and NaN; positive before negative."""
    if not math.isfinite(value):
        return (9, 0, 0.0)
    if value == 0:
        return (0, 0, 0.0 if math.copysign(1, value) > 0 else 1.0)
    digits = len(f"{abs(value):.17g}".rstrip("0").replace(".", "").lstrip("0"))
    short = len(repr(float(f"{abs(value):.7g}")))
    return (1 if abs(value) == 1 else 2, min(digits, short), abs(value) + (0.5 if value < 0 else 0.0))


def _simplicity(tensor: Array) -> tuple[int, int, float]:
    """Fewer distinct values, then more zeros, then smaller sum of digit counts over a sample."""
    flat = tensor.reshape(-1).astype(np.float64)
    sample = flat[:: max(1, flat.size // 64)]
    ranks = [_rank(v) for v in sample.tolist()]
    return (sum(r[0] for r in ranks), sum(r[1] for r in ranks), float(len(set(sample.tolist()))))
