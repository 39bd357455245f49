"""Elementwise primitives: value by torch in float64, error by a bound on how far f moves over x +- e.

Where |f'| changes within the interval the bound is over the whole interval, not first order: each docstring gives
it. `own` errors come from the accuracy table (`Builtin`), as `(ulp + per * |x|) * 2u * |y| + absolute`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tapml_fuzz.oracle.tracked import Arithmetic, Tracked, correctly_rounded, errors_of

Operand = Tracked | float

# Where exp of anything is certainly zero or infinite in float64; keeps |x| * exp(x) free of inf * 0.
_EXP_RANGE = 800.0
# Where exp of a float16 overflows: what tanh inherits from it says nothing beyond.
_HALF_EXP_RANGE = 11.1
# The largest whole number up to which every one is a float32.
_LARGEST_COUNT = 2.0**24


def floating(x: Operand, arithmetic: Arithmetic) -> Tracked:
    """An operand of floating arithmetic: scalars are stored, integers converted (rounding only large ones)."""
    if not isinstance(x, Tracked):
        return arithmetic.constant(x)
    if x.is_floating:
        return x
    value = x.value.to(torch.float64)
    error = x.error
    if x.value.dtype in (torch.int32, torch.int64) and value.numel():
        magnitude = value.abs()
        if float(magnitude.amax()) * arithmetic.roundoff > 0.5:
            own = magnitude.mul_(arithmetic.roundoff)
            error = own if error is None else own + error
    return Tracked(value, arithmetic, error, storage_dtype=arithmetic.dtype)


def scalar(number: float, like: Tracked) -> Tracked:
    """A scalar of the program next to the tensor `like`: platforms store it in that tensor's dtype, or wider."""
    return like.arithmetic.constant(number, like.storage_dtype if like.is_floating else None)


def store_intermediate(x: Tracked, like: Tracked) -> Tracked:
    """An intermediate that a correct implementation may keep in memory, in the dtype of the tensor `like`.

    Kernels of several passes do that (torch's own for softmax along an outer axis). It rounds once more where that
    dtype is narrower than the working precision; adding up in it, term by term, is a different matter and a fault.
    """
    return x.rounded_to(like.storage_dtype) if like.is_floating else x


def pair(x: Operand, y: Operand) -> tuple[Tracked, Tracked, Arithmetic]:
    arithmetic = x.arithmetic if isinstance(x, Tracked) else y.arithmetic  # type: ignore[union-attr]
    return floating(x, arithmetic), floating(y, arithmetic), arithmetic


def add(x: Operand, y: Operand) -> Tracked:
    x, y, a = pair(x, y)
    result = a.rounded(
        x.value + y.value,
        errors_of(x, y),
        (x, y),
        underflows=a.flush,
        nonnegative=x.nonnegative and y.nonnegative,
        unbounded=_both_overflow(x, y, -1.0),
    )
    return correctly_rounded(_absorbed(_absorbed(result, x, y), y, x), x, y)


# A mask's lowest number next to scores: only where something as large is about is absorption looked for.
_HUGE = 1e18


def _absorbed(result: Tracked, small: Tracked, large: Tracked) -> Tracked:
    """Where `small`, error and all, is below half a unit of an exact `large`, the sum is `large`, exactly."""
    a = result.arithmetic
    if result.error is None or large.error is not None or a.flush or large.value.numel() == 0:
        return result
    if not bool((large.value.abs() > _HUGE).any()):
        return result
    reach = small.value.abs() if small.error is None else small.value.abs() + small.error
    lost = (reach <= large.value.abs() * (a.roundoff / 2)) & (result.value == large.value) & (reach <= a.largest)
    return result.with_error(torch.where(lost, 0.0, result.error))


def sub(x: Operand, y: Operand) -> Tracked:
    x, y, a = pair(x, y)
    lost = _both_overflow(x, y, 1.0)
    result = a.rounded(x.value - y.value, errors_of(x, y), (x, y), underflows=a.flush, unbounded=lost)
    return correctly_rounded(result, x, y)


def _both_overflow(x: Tracked, y: Tracked, sign: float) -> Tensor | None:
    """Where an intermediate that overflows meets another, or an infinity, as inf - inf: NaN is right too.

    `sign` is what their signs multiply to.
    """
    if not (x.overflows or y.overflows):
        return None
    met = (x.beyond() | torch.isinf(x.value)) & (y.beyond() | torch.isinf(y.value))
    met = met & ~(torch.isinf(x.value) & torch.isinf(y.value))
    return met & (torch.sign(x.value) * torch.sign(y.value) == sign)


def mul(x: Operand, y: Operand) -> Tracked:
    """|(x+dx)(y+dy) - xy| <= |x| ey + |y| ex + ex ey."""
    if x is y:
        return square(x)
    x, y, a = pair(x, y)
    error: Tensor | None = None
    if y.error is not None:
        reach = x.value.abs() if x.error is None else x.value.abs().add_(x.error)
        error = reach * y.error
    if x.error is not None:
        magnitude = y.value.abs()
        error = magnitude * x.error if error is None else torch.addcmul(error, magnitude, x.error)
    sign = x.nonnegative and y.nonnegative
    unsure = infinite_by_zero(x, y, torch.mul)
    result = a.rounded(x.value * y.value, error, (x, y), nonnegative=sign, unbounded=unsure)
    return correctly_rounded(result, x, y)


def infinite_by_zero(x: Tracked, y: Tracked, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
    """Where an infinity meets a number that may just as well be zero (a subnormal that is flushed): unjudged.

    The result is then NaN, or infinite with either sign; NaN it surely is where a NaN goes in as well. `product` is
    the one that is computed, sums and all.
    """
    unsure: Tensor | None = None
    for one, other in ((x, y), (y, x)):
        if other.error is None or not bool((infinite := torch.isinf(one.value)).any()):
            continue
        zero = (other.value.abs() <= other.error) & (other.error > 0)
        pair = (infinite, zero) if one is x else (zero, infinite)
        met = product(*(mask.to(torch.float64) for mask in pair)) > 0
        unsure = met if unsure is None else unsure | met
    if unsure is None:
        return None
    nans = product(torch.isnan(x.value).double(), torch.ones_like(y.value))
    return unsure & ~(nans + product(torch.ones_like(x.value), torch.isnan(y.value).double()) > 0)


def square(x: Operand) -> Tracked:
    """|(x+dx)^2 - x^2| <= (2|x| + e) e, and never negative."""
    x, _, a = pair(x, 0.0)
    error = None if x.error is None else torch.add(x.error, x.value.abs(), alpha=2).mul_(x.error)
    return correctly_rounded(a.rounded(x.value * x.value, error, (x,), nonnegative=True), x)


def div(x: Operand, y: Operand, *, builtin: str = "div") -> Tracked:
    """|(x+dx)/(y+dy) - x/y| <= (ex + |x/y| ey) / (|y| - ey), unbounded when y may be zero.

    A divisor that overflows gives zero instead of a tiny quotient, so the quotient itself is the error there.
    """
    x, y, a = pair(x, y)
    value = x.value / y.value
    error: Tensor | None = None
    pole: Tensor | None = None
    if y.error is not None:
        closest = y.value.abs() - y.error
        error = value.abs().mul_(y.error)
        if x.error is not None:
            error.add_(x.error)
        error.div_(closest)
        if closest.numel() and not float(closest.amin()) > 0:
            pole = (closest <= 0) & (y.error > 0)
    elif x.error is not None:
        error = x.error / y.value.abs()
    if y.overflows:
        magnitude = value.abs()
        over = y.beyond()
        error = torch.where(over, magnitude, torch.zeros((), dtype=torch.float64) if error is None else error)
    low, high = a.accuracy.divisors
    if low > 0:
        size = y.value.abs()
        outside = ((size < low) & (size > 0)) | ((size > high) & torch.isfinite(size))
        if bool(outside.any()):
            pole = outside if pole is None else pole | outside
    units = 2 * a.accuracy.of(builtin).ulp
    watched = (x,) if y.overflows else (x, y)
    sign = x.nonnegative and y.nonnegative
    if error is not None and y.error is None:
        # A count may divide the terms of a sum one by one, each of which may underflow.
        count = (y.value == y.value.round()) & (y.value > 1) & (y.value <= _LARGEST_COUNT)
        if bool(count.any()):
            error = torch.add(error, torch.where(count, y.value, 0.0), alpha=a.underflow / 2)
    result = a.rounded(value, error, watched, units=units, nonnegative=sign, unbounded=pole)
    # Platforms may multiply by the reciprocal, which is exact for powers of two only.
    mantissa, _ = torch.frexp(y.value)
    return correctly_rounded(result, x, y) if bool((mantissa.abs() == 0.5).all()) else result


def reciprocal(x: Operand) -> Tracked:
    return div(1.0, x, builtin="reciprocal")


def neg(x: Tracked) -> Tracked:
    return Tracked(-x.value, x.arithmetic, x.error, storage_dtype=x.storage_dtype, overflows=x.overflows)


def absolute(x: Tracked) -> Tracked:
    return Tracked(
        x.value.abs(), x.arithmetic, x.error, storage_dtype=x.storage_dtype, overflows=x.overflows, nonnegative=True
    )


def exp(x: Operand, *, builtin: str = "exp") -> Tracked:
    """exp(x) * (exp(e) - 1); exp2 by the same formula with e * ln 2."""
    x, _, a = pair(x, 0.0)
    accuracy = a.accuracy.of(builtin)
    value = torch.exp(x.value) if builtin == "exp" else torch.exp2(x.value)
    # The reduced argument of exp may be off by u|x|-sized steps; beyond the range the value is 0 or inf anyway.
    relative = x.value.clamp(-_EXP_RANGE, _EXP_RANGE).abs_().mul_(2 * accuracy.ulp_per_argument * a.roundoff)
    relative.add_(2 * accuracy.ulp * a.roundoff)
    inherited: Tensor | None = None
    if x.error is not None:
        scale = 1.0 if builtin == "exp" else 0.6931471805599453
        widest = float(x.error.amax()) if x.error.numel() else 0.0
        if widest <= 0.1:
            relative = relative.add_(x.error * (1.06 * scale))  # expm1(e) <= 1.06 e for e <= 0.1
        else:
            above = x.value + x.error
            inherited = (torch.exp(above) if builtin == "exp" else torch.exp2(above)) - value
    own = relative.mul_(value)
    return a.rounded(value, inherited, (x,), own=own, saturates=True, nonnegative=True)


def expm1(x: Operand) -> Tracked:
    x, _, a = pair(x, 0.0)
    value = torch.expm1(x.value)
    error = None if x.error is None else torch.expm1(x.value + x.error) - value
    return a.rounded(value, error, (x,), units=2 * a.accuracy.of("expm1").ulp, saturates=True)


_LOGARITHMS = {"log": torch.log, "log2": torch.log2, "log10": torch.log10, "log1p": torch.log1p}
_LOG_SCALE = {"log": 1.0, "log2": 1.4426950408889634, "log10": 0.4342944819032518, "log1p": 1.0}


def log(x: Operand, *, builtin: str = "log") -> Tracked:
    """log x - log(x - e) <= e / (x - e), unbounded when x - e reaches zero."""
    x, _, a = pair(x, 0.0)
    accuracy = a.accuracy.of(builtin)
    value = _LOGARITHMS[builtin](x.value)
    error: Tensor | None = None
    pole: Tensor | None = None
    if x.error is not None:
        start = x.value + 1.0 if builtin == "log1p" else x.value
        lowest = start - x.error
        error = x.error * _LOG_SCALE[builtin] / lowest
        pole = (lowest <= 0) & (start + x.error >= 0) & (x.error > 0)
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff).add_(accuracy.absolute)
    return a.rounded(value, error, (x,), own=own, unbounded=pole)


def sqrt(x: Operand) -> Tracked:
    """|sqrt(x+d) - sqrt(x)| <= e / max(sqrt(x), sqrt(e)); unjudged when x may be negative or not."""
    x, _, a = pair(x, 0.0)
    value = torch.sqrt(x.value)
    error: Tensor | None = None
    pole: Tensor | None = None
    if x.error is not None:
        error = torch.where(x.error > 0, x.error / torch.maximum(value, torch.sqrt(x.error)), 0.0)
        if not x.nonnegative:
            pole = x.value.abs() < x.error
    units = 2 * a.accuracy.of("sqrt").ulp
    return a.rounded(value, error, (x,), units=units, nonnegative=True, unbounded=pole)


def rsqrt(x: Operand) -> Tracked:
    """rsqrt(x-e) - rsqrt(x) = e / (sqrt(x) sqrt(x-e) (sqrt(x) + sqrt(x-e))), unbounded when x - e reaches zero."""
    x, _, a = pair(x, 0.0)
    value = torch.rsqrt(x.value)
    error: Tensor | None = None
    pole: Tensor | None = None
    if x.error is not None:
        root, lowest = torch.sqrt(x.value), torch.sqrt(torch.clamp_min(x.value - x.error, 0.0))
        error = x.error / (root * lowest * (root + lowest))
        pole = (lowest <= 0) & (x.value + x.error >= 0) & (x.error > 0)
    units = 2 * a.accuracy.of("rsqrt").ulp
    return a.rounded(value, error, (x,), units=units, nonnegative=True, unbounded=pole)


def tanh(x: Operand) -> Tracked:
    """1 - tanh(m)^2 <= min(1, 4 exp(-2m)) bounds the slope over x +- e, m being the point nearest zero."""
    x, _, a = pair(x, 0.0)
    accuracy = a.accuracy.of("tanh")
    value = torch.tanh(x.value)
    error: Tensor | None = None
    if x.error is not None:
        nearest = (x.value.abs() - x.error).clamp_min_(0.0)
        error = nearest.mul_(-2.0).exp_().mul_(4.0).clamp_max_(1.0).mul_(x.error)
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff).add_(accuracy.absolute)
    if accuracy.ulp_per_argument:
        own.addcmul_(
            value.abs(), x.value.abs().clamp_max(_HALF_EXP_RANGE), value=2 * accuracy.ulp_per_argument * a.roundoff
        )
    return a.rounded(value, error, (x,), own=own, saturates=True)


def erf(x: Operand, *, builtin: str = "erf") -> Tracked:
    """The slope 2/sqrt(pi) exp(-m^2) at the point m nearest zero bounds it over x +- e; erfc likewise."""
    x, _, a = pair(x, 0.0)
    value = torch.erfc(x.value) if builtin == "erfc" else torch.erf(x.value)
    error: Tensor | None = None
    if x.error is not None:
        nearest = (x.value.abs() - x.error).clamp_min_(0.0)
        error = nearest.square_().neg_().exp_().mul_(1.1283791670955126).mul_(x.error)
    accuracy = a.accuracy.of(builtin)
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff).add_(accuracy.absolute)
    return a.rounded(value, error, (x,), own=own, saturates=True, nonnegative=builtin == "erfc")


# Functions whose slope never exceeds 1 in magnitude.
_BOUNDED_SLOPE = {"sin": torch.sin, "cos": torch.cos, "atan": torch.atan, "asinh": torch.asinh}


def bounded_slope(x: Operand, builtin: str) -> Tracked:
    """sin, cos, atan, asinh: |f(x+d) - f(x)| <= e."""
    x, _, a = pair(x, 0.0)
    accuracy = a.accuracy.of(builtin)
    value = _BOUNDED_SLOPE[builtin](x.value)
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff).add_(accuracy.absolute)
    if accuracy.reduction:
        size = x.value.abs()
        lost = size.mul(accuracy.reduction * a.roundoff).clamp_max_(2.0)  # no two sines are farther apart
        own.add_(lost.where(size > math.pi, 0.0))
    return a.rounded(value, x.error, (x,), own=own)


_MONOTONE = {
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
}


def by_ends(x: Operand, builtin: str) -> Tracked:
    """Functions monotone over the small interval x +- e: the farther of the two ends (NaN there: unjudged)."""
    x, _, a = pair(x, 0.0)
    function, accuracy = _MONOTONE[builtin], a.accuracy.of(builtin)
    value = function(x.value)
    error: Tensor | None = None
    if x.error is not None:
        ends = (function(x.value - x.error) - value).abs(), (function(x.value + x.error) - value).abs()
        error = torch.maximum(*ends)
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff).add_(accuracy.absolute)
    # sinh and cosh are half a sum of exponentials, one of which may overflow alone.
    near_overflow = (value.abs() > a.largest / 2) & torch.isfinite(value) if builtin in ("sinh", "cosh") else None
    return a.rounded(value, error, (x,), own=own, unbounded=near_overflow)


def sigmoid(x: Operand) -> Tracked:
    """1 / (1 + exp(-x))."""
    x, _, _ = pair(x, 0.0)
    return reciprocal(add(1.0, exp(neg(x))))
