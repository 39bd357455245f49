"""Powers: small whole and half exponents by the products and roots that compute them, others by pow itself."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from tapml_fuzz.oracle.elementwise import Operand, mul, pair, reciprocal, rsqrt, sqrt, square
from tapml_fuzz.oracle.tracked import Tracked


def power(x: Operand, y: Operand) -> Tracked:
    """x ** y. Small whole and half exponents are the products and roots they are computed by.

    Otherwise the farthest corner of the box (x +- ex, y +- ey), pow being monotone in either, unjudged when x may be
    zero; plus the function's own ULP. Where the table inherits pow from exp2(y * log2(x)), `ulp_per_argument` counts
    per |y log2 x| and `absolute` is that of log2.
    """
    if not isinstance(y, Tracked):
        simple = simple_power(x, float(y))
        if simple is not None:
            return simple
    x, y, a = pair(x, y)
    value = torch.pow(x.value, y.value)
    error: Tensor | None = None
    pole: Tensor | None = None
    if x.error is not None or y.error is not None:
        bases = [x.value] if x.error is None else [x.value - x.error, x.value + x.error]
        exponents = [y.value] if y.error is None else [y.value - y.error, y.value + y.error]
        error = torch.zeros_like(value)
        for base, exponent in itertools.product(bases, exponents):
            error = torch.maximum(error, (torch.pow(base, exponent) - value).abs())
        if x.error is not None:
            pole = (x.value.abs() <= x.error) & (x.error > 0)
    accuracy = a.accuracy.of("pow")
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff)
    if accuracy.ulp_per_argument:
        inner = (y.value * torch.log2(x.value.abs())).nan_to_num_(0.0, 0.0, 0.0).abs_()
        inner.mul_(2 * accuracy.ulp_per_argument * a.roundoff)
        own += value.abs() * (inner + y.value.abs() * accuracy.absolute)
    return a.rounded(value, error, (x, y), own=own, unbounded=pole)


def simple_power(x: Operand, exponent: float) -> Tracked | None:
    """The product or root that computes this power, or None."""
    match exponent:
        case 0.5:
            return sqrt(x)
        case -0.5:
            return rsqrt(x)
        case -1.0:
            return reciprocal(x)
        case 1.0:
            return mul(x, 1.0)
        case 2.0:
            return square(x)
        case 3.0:
            return mul(square(x), x)
        case -2.0:
            return reciprocal(square(x))
    return None
