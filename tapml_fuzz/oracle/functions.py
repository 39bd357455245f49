"""Functions of one operand: exponentials, logarithms, roots, hyperbolic and circular functions, the error function.

Where |f'| changes within x +- e the bound is over the whole interval, not first order: each docstring gives it. `own`
errors come from the accuracy table (`Builtin`), as `(ulp + per * |x|) * 2u * |y| + absolute`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tapml_fuzz.oracle.elementwise import Operand, add, neg, pair, reciprocal
from tapml_fuzz.oracle.tracked import Tracked

# Where exp of anything is certainly zero or infinite in float64 (below -745.2, above 709.8); keeps |x| * exp(x) free of
# inf * 0.
_EXP_RANGE = 800.0
# Where exp of a float16 overflows (ln 65504 = 11.09): what tanh inherits from it says nothing beyond.
_HALF_EXP_RANGE = 11.1


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
        scale = 1.0 if builtin == "exp" else math.log(2)
        widest = float(x.error.amax()) if x.error.numel() else 0.0
        if widest <= 0.1:
            relative = relative.add_(x.error * (1.06 * scale))  # expm1(e) <= 1.06 e for e <= 0.1
        else:
            above = x.value + x.error
            inherited = (torch.exp(above) if builtin == "exp" else torch.exp2(above)) - value
    own = relative.mul_(value)
    return a.rounded(value, inherited, (x,), own=own, saturates=True, nonnegative=True)


def expm1(x: Operand) -> Tracked:
    """The error of exp: expm1(x + e) - expm1(x), the larger of the two sides."""
    x, _, a = pair(x, 0.0)
    value = torch.expm1(x.value)
    error = None if x.error is None else torch.expm1(x.value + x.error) - value
    return a.rounded(value, error, (x,), units=2 * a.accuracy.of("expm1").ulp, saturates=True)


_LOGARITHMS = {"log": torch.log, "log2": torch.log2, "log10": torch.log10, "log1p": torch.log1p}
_LOG_SCALE = {"log": 1.0, "log2": math.log2(math.e), "log10": math.log10(math.e), "log1p": 1.0}


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
        error = nearest.square_().neg_().exp_().mul_(2 / math.sqrt(math.pi)).mul_(x.error)
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
