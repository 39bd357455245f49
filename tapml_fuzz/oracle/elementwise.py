"""Elementwise arithmetic: value by torch in float64, error by a bound on how far it moves over x +- ex and y +- ey."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tapml_fuzz.oracle.tracked import Arithmetic, Tracked, correctly_rounded, errors_of

Operand = Tracked | float
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
    """Both operands as floating `Tracked` values, and the arithmetic that they share."""
    arithmetic = x.arithmetic if isinstance(x, Tracked) else y.arithmetic  # type: ignore[union-attr]
    return floating(x, arithmetic), floating(y, arithmetic), arithmetic


def add(x: Operand, y: Operand) -> Tracked:
    """|(x+dx) + (y+dy) - (x+y)| <= ex + ey."""
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


# A mask's lowest number next to scores: only where something as large is about is absorption looked for. Half a unit of
# 1e18 is 3e10 in float32, more than any score. Below it the sum keeps the bound of an ordinary rounding.
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
    """|(x+dx) - (y+dy) - (x-y)| <= ex + ey."""
    x, y, a = pair(x, y)
    lost = _both_overflow(x, y, 1.0)
    result = a.rounded(x.value - y.value, errors_of(x, y), (x, y), underflows=a.flush, unbounded=lost)
    return correctly_rounded(result, x, y)


def _both_overflow(x: Tracked, y: Tracked, sign: float) -> Tensor | None:
    """A mask of where an intermediate that overflows meets another, or an infinity, as inf - inf: NaN is right too.

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
    """A mask of where an infinity meets a number that may just as well be zero (a subnormal that is flushed): unjudged.

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
    """1 / x, with the accuracy that the platform has for it."""
    return div(1.0, x, builtin="reciprocal")


def neg(x: Tracked) -> Tracked:
    """-x, which rounds nothing."""
    return Tracked(-x.value, x.arithmetic, x.error, storage_dtype=x.storage_dtype, overflows=x.overflows)


def absolute(x: Tracked) -> Tracked:
    """|x|, which rounds nothing."""
    return Tracked(
        x.value.abs(), x.arithmetic, x.error, storage_dtype=x.storage_dtype, overflows=x.overflows, nonnegative=True
    )
