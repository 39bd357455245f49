"""Elementwise arithmetic, extrema, rounding to whole numbers and remainders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.elementwise import Operand
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked, errors_of


def scaled(x: Operand, factor: Operand, like: Tracked | None = None) -> Operand:
    """x * factor, nothing being done for a factor of one; a stage of `like` if given."""
    if not isinstance(factor, Tracked) and factor == 1:
        return x
    if like is None:
        return e.mul(x, factor)
    return e.store_intermediate(e.mul(x, factor if isinstance(factor, Tracked) else e.scalar(factor, like)), like)


def operands(x: Operand, other: Operand) -> tuple[Tracked, Tracked]:
    """Two operands of the program, of which one may be a scalar."""
    if not isinstance(other, Tracked):
        assert isinstance(x, Tracked)
        return x, e.scalar(other, x)
    return (x, other) if isinstance(x, Tracked) else (e.scalar(x, other), other)


@rule("aten.add")
def add(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    """x + alpha * other, the product stored as a tensor may be."""
    x, other = operands(x, other)
    return e.add(x, scaled(other, alpha, x))


@rule("aten.sub")
def sub(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    """x - alpha * other, the product stored as a tensor may be."""
    x, other = operands(x, other)
    return e.sub(x, scaled(other, alpha, x))


@rule("aten.rsub")
def rsub(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    """other - alpha * x, the product stored as a tensor may be."""
    x, other = operands(x, other)
    return e.sub(other, scaled(x, alpha, other))


@rule("aten.mul")
def mul(x: Operand, other: Operand) -> Tracked:
    """x * other; a tensor by itself is a square, whose errors are not independent."""
    return e.square(x) if x is other else e.mul(*operands(x, other))


@rule("aten.div", "aten.true_divide")
def div(x: Operand, other: Operand, rounding_mode: str | None = None) -> Tracked:
    """x / other, rounded to whole numbers as `rounding_mode` says."""
    quotient = e.div(*operands(x, other))
    return quotient if rounding_mode is None else _whole(quotient, getattr(torch, rounding_mode))


@rule("aten.addcmul")
def addcmul(x: Tracked, one: Tracked, two: Tracked, value: float = 1) -> Tracked:
    """x + value * one * two."""
    return e.add(x, e.mul(scaled(one, value), two))


@rule("aten.addcdiv")
def addcdiv(x: Tracked, one: Tracked, two: Tracked, value: float = 1) -> Tracked:
    """x + value * one / two."""
    return e.add(x, e.div(scaled(one, value), two))


@rule("aten.lerp")
def lerp(start: Tracked, end: Tracked, weight: Operand) -> Tracked:
    """start + weight * (end - start)."""
    return e.add(start, e.mul(weight, e.sub(end, start)))


rule("aten.neg")(e.neg)
rule("aten.abs")(e.absolute)
rule("aten.reciprocal")(e.reciprocal)
rule("aten.square")(e.square)


def _extremum(x: Tracked, other: Operand, function: Callable[[Tensor, Tensor], Tensor]) -> Tracked:
    """The larger (smaller) of two: it moves by at most the larger error; exact for exact operands."""
    if not isinstance(other, Tracked):
        other = x.arithmetic.constant(movement.stored(other, x), x.storage_dtype)
    x, other = movement.alike([x, other])
    if not x.is_floating:
        return replace(x, value=function(x.value, other.value))
    error: Tensor | None = None
    value = function(x.value, other.value)
    if x.error is not None or other.error is not None:
        error = torch.maximum(movement.dense_error(x), movement.dense_error(other))
    wide = x.storage_dtype if x.storage_dtype == other.storage_dtype else x.arithmetic.dtype
    sign = x.nonnegative or other.nonnegative if function is torch.maximum else x.nonnegative and other.nonnegative
    return Tracked(value, x.arithmetic, error, wide, x.overflows or other.overflows, nonnegative=sign)


@rule("aten.maximum")
def maximum(x: Tracked, other: Operand) -> Tracked:
    """The larger of two, element by element."""
    return _extremum(x, other, torch.maximum)


@rule("aten.minimum")
def minimum(x: Tracked, other: Operand) -> Tracked:
    """The smaller of two, element by element."""
    return _extremum(x, other, torch.minimum)


@rule("aten.fmax")
def fmax(x: Tracked, other: Operand) -> Tracked:
    """The larger of two, and the other one where one is NaN."""
    return _extremum(x, other, torch.fmax)


@rule("aten.fmin")
def fmin(x: Tracked, other: Operand) -> Tracked:
    """The smaller of two, and the other one where one is NaN."""
    return _extremum(x, other, torch.fmin)


@rule("aten.clamp", "aten.clip")
def clamp(x: Tracked, min: Operand | None = None, max: Operand | None = None) -> Tracked:
    """max first below, then min above, as torch defines it; the limits are stored in x's dtype."""
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


@rule("aten.clamp_min")
def clamp_min(x: Tracked, min: Operand) -> Tracked:
    """x, not below the limit."""
    return maximum(x, min)


@rule("aten.clamp_max")
def clamp_max(x: Tracked, max: Operand) -> Tracked:
    """x, not above the limit."""
    return minimum(x, max)


def _whole(x: Tracked, function: Callable[[Tensor], Tensor]) -> Tracked:
    """A step function: where the error reaches over a step, the values on both sides are right."""
    if not x.is_floating:
        return x
    value = function(x.value)
    error = None
    if x.error is not None:
        above, below = function(x.value + x.error), function(x.value - x.error)
        error = torch.maximum((above - value).abs(), (value - below).abs())
        error = torch.where(torch.isfinite(value), error, torch.where(torch.isinf(x.error), torch.inf, 0.0))
        if not bool(error.any()):
            error = None
    return Tracked(value, x.arithmetic, error, x.storage_dtype, x.overflows, nonnegative=x.nonnegative)


def _stepping(packet: str) -> None:
    function = getattr(torch, packet)

    @rule(f"aten.{packet}.default")
    def _(x: Tracked) -> Tracked:
        return _whole(x, function)


for _packet in ("floor", "ceil", "trunc", "round"):
    _stepping(_packet)


@rule("aten.sign", "aten.sgn")
def sign(x: Tracked) -> Tracked:
    """-1, 0 or 1; both sides of zero are right where the error reaches over it."""
    return _whole(x, torch.sign)


@rule("aten.floor_divide")
def floor_divide(x: Operand, other: Operand) -> Tracked:
    """floor(x / y), or (x - x mod y) / y, whose difference and quotient are stages; infinite x is lost in that."""
    x, other = operands(x, other)
    quotient = e.div(x, other)
    roundoff = dtypes.unit_roundoff(str(x.storage_dtype).removeprefix("torch.")) if x.is_floating else 0.0
    error = torch.add(movement.dense_error(quotient), quotient.value.abs(), alpha=2 * roundoff)
    error = torch.where(torch.isinf(x.value) & ~torch.isnan(quotient.value), torch.inf, error)
    return _whole(quotient.with_error(error), torch.floor)


def _remainder(x: Operand, other: Operand, function: Any) -> Tracked:
    """Exact for exact operands (IEEE 754 remainder); an inexact operand may cross a period."""
    arithmetic = x.arithmetic if isinstance(x, Tracked) else other.arithmetic  # type: ignore[union-attr]
    x, other = e.floating(x, arithmetic), e.floating(other, arithmetic)
    value = function(x.value, other.value)
    inherited: Tensor | None = errors_of(x)
    if other.error is not None:
        periods = (x.value / other.value).abs() + 1.0
        part = periods * other.error
        inherited = part if inherited is None else inherited + part
    # x - y * floor(x / y) in the working precision: the quotient's rounding times y, the product, the difference.
    own = (x.value.abs() + 2 * other.value.abs()).mul_(arithmetic.roundoff)
    result = arithmetic.rounded(value, inherited, (x, other), own=own)
    # An infinite divisor or an overflowing quotient makes inf * 0 or inf - inf of that formula.
    lost = torch.isinf(other.value) | ((x.value / other.value).abs() > arithmetic.largest)
    reach = torch.where(lost, torch.inf, movement.dense_error(result))
    wrap = (value.abs() <= reach) | ((other.value.abs() - value.abs()) <= reach)
    return result.with_error(torch.where(wrap & torch.isfinite(value), reach + other.value.abs(), reach))


@rule("aten.remainder")
def remainder(x: Operand, other: Operand) -> Tracked:
    """The remainder with the sign of the divisor."""
    return _remainder(x, other, torch.remainder)


@rule("aten.fmod")
def fmod(x: Operand, other: Operand) -> Tracked:
    """The remainder with the sign of the dividend."""
    return _remainder(x, other, torch.fmod)
