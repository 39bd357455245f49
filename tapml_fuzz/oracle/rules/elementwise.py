"""Elementwise operators: arithmetic, functions, activations, rounding to integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import movement, powers
from tapml_fuzz.oracle.elementwise import Operand
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.indexing import where
from tapml_fuzz.oracle.tracked import Tracked, errors_of


def scaled(x: Operand, factor: Operand, like: Tracked | None = None) -> Operand:
    """x * factor, nothing being done for a factor of one; a stage of `like` if given."""
    if not isinstance(factor, Tracked) and factor == 1:
        return x
    if like is None:
        return e.mul(x, factor)
    return e.store_intermediate(e.mul(x, factor if isinstance(factor, Tracked) else e.scalar(factor, like)), like)


def _operands(x: Operand, other: Operand) -> tuple[Tracked, Tracked]:
    """Two operands of the program, of which one may be a scalar."""
    if not isinstance(other, Tracked):
        assert isinstance(x, Tracked)
        return x, e.scalar(other, x)
    return (x, other) if isinstance(x, Tracked) else (e.scalar(x, other), other)


@rule("aten.add")
def add(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    x, other = _operands(x, other)
    return e.add(x, scaled(other, alpha, x))


@rule("aten.sub")
def sub(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    x, other = _operands(x, other)
    return e.sub(x, scaled(other, alpha, x))


@rule("aten.rsub")
def rsub(x: Operand, other: Operand, alpha: float = 1) -> Tracked:
    x, other = _operands(x, other)
    return e.sub(other, scaled(x, alpha, other))


@rule("aten.mul")
def mul(x: Operand, other: Operand) -> Tracked:
    return e.square(x) if x is other else e.mul(*_operands(x, other))


@rule("aten.div", "aten.true_divide")
def div(x: Operand, other: Operand, rounding_mode: str | None = None) -> Tracked:
    quotient = e.div(*_operands(x, other))
    return quotient if rounding_mode is None else _whole(quotient, getattr(torch, rounding_mode))


@rule("aten.addcmul")
def addcmul(x: Tracked, one: Tracked, two: Tracked, value: float = 1) -> Tracked:
    return e.add(x, e.mul(scaled(one, value), two))


@rule("aten.addcdiv")
def addcdiv(x: Tracked, one: Tracked, two: Tracked, value: float = 1) -> Tracked:
    return e.add(x, e.div(scaled(one, value), two))


@rule("aten.lerp")
def lerp(start: Tracked, end: Tracked, weight: Operand) -> Tracked:
    return e.add(start, e.mul(weight, e.sub(end, start)))


rule("aten.neg")(e.neg)
rule("aten.abs")(e.absolute)
rule("aten.reciprocal")(e.reciprocal)
rule("aten.sqrt")(e.sqrt)
rule("aten.rsqrt")(e.rsqrt)
rule("aten.square")(e.square)
rule("aten.tanh")(e.tanh)
rule("aten.exp")(e.exp)
rule("aten.expm1")(e.expm1)
rule("aten.sigmoid")(e.sigmoid)


@rule("aten.pow")
def power(x: Operand, exponent: Operand) -> Tracked:
    """The scalar exponents that have a product or root of their own are exact; a cube keeps its square."""
    if isinstance(exponent, Tracked) or not isinstance(x, Tracked):
        return powers.power(*_operands(x, exponent))
    if exponent == 3:
        return powers.or_called(e.mul(e.store_intermediate(e.square(x), x), x), x, 3.0)
    simple = powers.simple_power(x, float(exponent))
    return powers.power(x, e.scalar(exponent, x)) if simple is None else simple


def _builtin(packet: str, primitive: Callable[..., Tracked]) -> None:
    @rule(f"aten.{packet}")
    def _(x: Tracked) -> Tracked:
        return primitive(x, builtin=packet)


for _packet in ("log", "log2", "log10", "log1p"):
    _builtin(_packet, e.log)
for _packet in ("sin", "cos", "atan", "asinh"):
    _builtin(_packet, e.bounded_slope)
for _packet in ("tan", "asin", "acos", "sinh", "cosh", "acosh", "atanh"):
    _builtin(_packet, e.by_ends)
for _packet in ("erf", "erfc"):
    _builtin(_packet, e.erf)
_builtin("exp2", e.exp)


@rule("aten.gelu")
def gelu(x: Tracked, approximate: str = "none") -> Tracked:
    """x/2 (1 + erf(x/sqrt 2)), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016)."""
    half = e.mul(x, 0.5)
    if approximate == "none":
        tail = e.add(e.erf(e.mul(x, math.sqrt(0.5)), builtin="erf_of_gelu"), 1.0)
        return _open_at_minus_infinity(x, e.mul(half, tail))
    inner = e.add(x, e.mul(e.mul(e.square(x), x), 0.044715))
    tail = e.add(e.tanh(e.mul(inner, math.sqrt(2 / math.pi))), 1.0)
    return _open_at_minus_infinity(x, e.mul(half, tail))


def _open_at_minus_infinity(x: Tracked, y: Tracked) -> Tracked:
    """At -inf the formula says inf * 0, NaN, and the limit says 0: both are right, so it is unjudged."""
    pole = x.value == -torch.inf
    return y.with_error(torch.where(pole, torch.inf, movement.dense_error(y))) if bool(pole.any()) else y


@rule("aten.silu")
def silu(x: Tracked) -> Tracked:
    return _open_at_minus_infinity(x, e.mul(x, e.sigmoid(x)))


@rule("aten.softplus")
def softplus(x: Tracked, beta: float = 1, threshold: float = 20) -> Tracked:
    """log(1 + exp(beta x)) / beta, x itself beyond the threshold."""
    scale = scaled(x, beta)
    assert isinstance(scale, Tracked)
    linear = scale.value > threshold
    bounded = replace(scale, value=scale.value.clamp(max=threshold), overflows=False)
    curve = e.log(e.exp(bounded), builtin="log1p")
    curve = curve if beta == 1 else e.div(curve, beta)
    # At the threshold itself rounding decides the branch; the two differ by exp(-threshold) there.
    chosen = where(Tracked(linear, x.arithmetic), x, curve)
    gap = math.exp(-threshold) / beta
    near = (scale.value - threshold).abs() <= 1e-5 * abs(threshold)
    return chosen.with_error(torch.where(near, movement.dense_error(chosen) + gap, movement.dense_error(chosen)))


@rule("aten.relu")
def relu(x: Tracked) -> Tracked:
    return maximum(x, 0)


@rule("aten.leaky_relu")
def leaky_relu(x: Tracked, negative_slope: float = 0.01) -> Tracked:
    return where(Tracked(x.value > 0, x.arithmetic), x, e.mul(x, negative_slope))


@rule("aten.elu")
def elu(x: Tracked, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tracked:
    curve = scaled(e.expm1(scaled(replace(x, value=x.value.clamp(max=0.0)), input_scale)), alpha * scale)
    assert isinstance(curve, Tracked)
    line = scaled(x, scale)
    assert isinstance(line, Tracked)
    return where(Tracked(x.value > 0, x.arithmetic), line, curve)


@rule("aten.hardtanh")
def hardtanh(x: Tracked, min_val: float = -1, max_val: float = 1) -> Tracked:
    return clamp(x, min_val, max_val)


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
    return _extremum(x, other, torch.maximum)


@rule("aten.minimum")
def minimum(x: Tracked, other: Operand) -> Tracked:
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
    return maximum(x, min)


@rule("aten.clamp_max")
def clamp_max(x: Tracked, max: Operand) -> Tracked:
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
    return _whole(x, torch.sign)


@rule("aten.floor_divide")
def floor_divide(x: Operand, other: Operand) -> Tracked:
    """floor(x / y), or (x - x mod y) / y, whose difference and quotient are stages; infinite x is lost in that."""
    x, other = _operands(x, other)
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
    return _remainder(x, other, torch.remainder)


@rule("aten.fmod")
def fmod(x: Operand, other: Operand) -> Tracked:
    return _remainder(x, other, torch.fmod)


@rule("aten.atan2")
def atan2(x: Tracked, other: Tracked) -> Tracked:
    """The gradient has length 1 / |(x, y)|, smallest distance over the error box."""
    a = x.arithmetic
    x, other = e.floating(x, a), e.floating(other, a)
    value = torch.atan2(x.value, other.value)
    slack = errors_of(x, other)
    error = None
    if slack is not None:
        closest = torch.hypot(x.value, other.value) - slack
        error = torch.where(closest > 0, slack / closest, torch.inf)
    return a.rounded(value, error, (x, other), units=2 * a.accuracy.of("atan2").ulp)
