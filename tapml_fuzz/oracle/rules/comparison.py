"""Comparisons and logic: exact while their operands are; where rounding may decide, either answer is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.oracle.elementwise import Operand, floating
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked, errors_of


def compare(x: Tracked, y: Operand, relation: Callable[[Tensor, Tensor], Tensor]) -> Tracked:
    """A scalar is stored in the tensor's dtype before it is compared, or compared as it is: both are done."""
    a = x.arithmetic
    if not isinstance(y, Tracked):
        y = a.constant(y, x.storage_dtype if x.is_floating else None)
    x, y = floating(x, a), floating(y, a)
    value = relation(x.value, y.value)
    slack = errors_of(x, y)
    if slack is None:
        return Tracked(value, a)
    near = (x.value - y.value).abs() <= slack
    error = (near & (slack > 0)).to(torch.float64)
    return Tracked(value, a, error if bool(error.any()) else None)


def _comparing(packet: str, relation: Callable[[Tensor, Tensor], Tensor]) -> None:
    @rule(f"aten.{packet}")
    def _(x: Tracked, other: Operand) -> Tracked:
        return compare(x, other, relation)


for _packet in ("ge", "gt", "le", "lt", "eq", "ne"):
    _comparing(_packet, getattr(torch, _packet))


def truthy(x: Tracked) -> Tracked:
    """The truth value of any tensor, uncertain where zero is within its error."""
    if x.value.dtype == torch.bool:
        return x
    error = None
    if x.error is not None:
        error = ((x.error > 0) & (x.value.abs() <= x.error)).to(torch.float64)
    return Tracked(x.value != 0, x.arithmetic, error)


def _logical(packet: str, function: Callable[..., Tensor]) -> None:
    @rule(f"aten.{packet}")
    def _(*operands: Tracked) -> Tracked:
        bits = [truthy(o) for o in operands]
        error = errors_of(*bits)
        value = function(*(b.value for b in bits))
        return Tracked(value, bits[0].arithmetic, None if error is None else error.clamp(max=1.0))


for _packet in ("logical_and", "logical_or", "logical_xor", "logical_not"):
    _logical(_packet, getattr(torch, _packet))


def _classifying(packet: str) -> None:
    function = getattr(torch, packet)

    @rule(f"aten.{packet}")
    def _(x: Tracked) -> Tracked:
        """The class of a number; unjudged where its magnitude is."""
        lost = None if x.error is None else (~torch.isfinite(x.error)).to(torch.float64)
        return Tracked(function(x.value), x.arithmetic, lost)


for _packet in ("isnan", "isinf", "isfinite"):
    _classifying(_packet)


def _quantifying(packet: str) -> None:
    function = getattr(torch.ops.aten, packet)

    @rule(f"aten.{packet}")
    def _(x: Tracked, *where: Any, **options: Any) -> Tracked:
        bits = truthy(x)
        value = function(bits.value, *where, **options)
        if bits.error is None:
            return Tracked(value, x.arithmetic)
        doubtful = torch.ops.aten.any(bits.error.expand(bits.value.shape) > 0, *where, **options)
        return Tracked(value, x.arithmetic, doubtful.to(torch.float64))


for _packet in ("any", "all"):
    _quantifying(_packet)
