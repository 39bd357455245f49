"""Masks: where and masked_fill. Exact unless rounding decides the condition."""

from __future__ import annotations

from dataclasses import replace

import torch

from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked


@rule("aten.where.self")
def where(condition: Tracked, x: Tracked, y: Tracked) -> Tracked:
    """Choose by a condition; where rounding decides it, both branches are right, so the error spans both."""
    chosen = movement.merged(lambda p: torch.where(condition.value, p[0], p[1]), [x, y])
    if condition.error is None or not chosen.is_floating:
        return chosen
    one, other = movement.alike([x, y])
    span = (one.value - other.value).abs() + movement.dense_error(one) + movement.dense_error(other)
    span = torch.where(torch.isnan(span), torch.inf, span)
    return chosen.with_error(torch.where(condition.error > 0, span, movement.dense_error(chosen)))


@rule("aten.masked_fill")
def masked_fill(x: Tracked, mask: Tracked, value: Tracked | float) -> Tracked:
    """A number, stored in x's dtype, where the mask is true, and x elsewhere."""
    filled = value if isinstance(value, Tracked) else x.arithmetic.constant(movement.stored(value, x), x.storage_dtype)
    if not x.is_floating:
        number = value.value if isinstance(value, Tracked) else value
        return movement.moved(torch.ops.aten.masked_fill, x, mask, number)  # type: ignore[no-any-return]
    return where(mask, replace(filled, storage_dtype=x.storage_dtype), x)
