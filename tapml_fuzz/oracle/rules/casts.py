"""Casts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.comparison import truthy
from tapml_fuzz.oracle.tracked import Tracked


@rule("aten._to_copy", "aten.to.dtype", "aten._to_copy.default", "prims.convert_element_type")
def cast(x: Tracked, dtype: torch.dtype | None = None, *_: Any, **__: Any) -> Tracked:
    """To a narrower float: one rounding. To an integer: truncation. To bool: not zero."""
    if dtype is None:
        return x
    if dtype.is_floating_point:
        if x.is_floating:
            return x.converted_to(dtype)
        value = x.value.to(torch.float64)
        exact = Tracked(value, x.arithmetic, x.error, storage_dtype=torch.float64)
        small = value.numel() == 0 or float(value.abs().amax()) <= 2.0 ** _significand(dtype)
        if small:
            return replace(exact, storage_dtype=dtype)
        # What float32 holds is rounded once; larger numbers may pass through float32 on their way.
        single = bool((value.to(torch.float32).to(torch.float64) == value).all())
        return replace(exact, storage_dtype=torch.float32).converted_to(dtype) if single else exact.rounded_to(dtype)
    if not x.is_floating:
        return replace(x, value=x.value.to(dtype), storage_dtype=torch.float64)
    if dtype == torch.bool:
        return truthy(x)
    return truncated(x, dtype)


def _significand(dtype: torch.dtype) -> int:
    return {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24}.get(dtype, 53)


def truncated(x: Tracked, dtype: torch.dtype) -> Tracked:
    """Toward zero. A value out of the integer's range (or NaN) has no defined result: unjudged."""
    limits = torch.iinfo(dtype)
    # float64 cannot hold 2^63 - 1; the next number below it is the largest that converts.
    inside = (x.value > limits.min - 1.0) & (x.value < limits.max + 1.0)
    if dtype == torch.int64:
        inside = (x.value >= -(2.0**63)) & (x.value < 2.0**63)
    value = torch.where(inside, x.value, 0.0).trunc().to(dtype)
    error: torch.Tensor | None = None
    if x.error is not None:
        above, below, middle = (torch.trunc(v) for v in (x.value + x.error, x.value - x.error, x.value))
        error = torch.maximum((above - middle).abs(), (middle - below).abs())
    if not bool(inside.all()):
        error = torch.where(inside, 0.0 if error is None else error, torch.inf)
    return Tracked(value, x.arithmetic, error)


@rule("aten.type_as", "aten.to.other")
def as_other(x: Tracked, other: Tracked, *_: Any, **__: Any) -> Tracked:
    """A cast to the dtype of another tensor."""
    return cast(x, other.storage_dtype if other.is_floating else other.value.dtype)
