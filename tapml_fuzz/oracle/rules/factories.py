"""Tensors of one number: every platform stores it rounded alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tapml_fuzz.oracle import elementwise, movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked


def filled(x: Tracked, shape: Any, number: float, dtype: torch.dtype | None) -> Tracked:
    """A constant tensor: every platform stores the same rounded number."""
    dtype = dtype or (x.storage_dtype if x.is_floating else x.value.dtype)
    data = torch.full(tuple(shape), number, dtype=dtype)
    floats = dtype.is_floating_point
    return Tracked(data.to(torch.float64) if floats else data, x.arithmetic, None, dtype if floats else torch.float64)


@rule("aten.full_like")
def full_like(x: Tracked, fill_value: float, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """A constant tensor of x's shape."""
    return filled(x, x.value.shape, fill_value, dtype)


@rule("aten.zeros_like")
def zeros_like(x: Tracked, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """Zeros of x's shape."""
    return filled(x, x.value.shape, 0, dtype)


@rule("aten.ones_like")
def ones_like(x: Tracked, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """Ones of x's shape."""
    return filled(x, x.value.shape, 1, dtype)


@rule("aten.new_full")
def new_full(x: Tracked, size: Any, fill_value: float, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """A constant tensor of shape `size`."""
    return filled(x, size, fill_value, dtype)


@rule("aten.new_zeros")
def new_zeros(x: Tracked, size: Any, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """Zeros of shape `size`."""
    return filled(x, size, 0, dtype)


@rule("aten.new_ones")
def new_ones(x: Tracked, size: Any, dtype: torch.dtype | None = None, **_: Any) -> Tracked:
    """Ones of shape `size`."""
    return filled(x, size, 1, dtype)


@rule("aten.fill")
def fill(x: Tracked, value: Tracked | float) -> Tracked:
    """One number, given as such or as a tensor, all over x's shape."""
    number = value if isinstance(value, Tracked) else x.arithmetic.constant(movement.stored(value, x), x.storage_dtype)
    blank = replace(x, value=torch.zeros_like(x.value), error=None, overflows=False)
    return _spread_over(blank, number)


def _spread_over(blank: Tracked, number: Tracked) -> Tracked:
    """`number` spread over the shape of `blank`."""
    if not blank.is_floating:
        return replace(blank, value=torch.ones_like(blank.value) * number.value.to(blank.value.dtype))
    number = elementwise.floating(number, blank.arithmetic)
    return movement.moved(lambda t: t.expand(blank.value.shape), replace(number, storage_dtype=blank.storage_dtype))  # type: ignore[no-any-return]
