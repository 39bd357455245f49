"""Powers: small whole and half exponents by the products and roots that compute them, others by pow itself.

Where a platform's specification says how accurate its pow is, it may be called for every exponent.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from tapml_fuzz.oracle.accuracy import Builtin
from tapml_fuzz.oracle.elementwise import Operand, mul, pair, reciprocal, square
from tapml_fuzz.oracle.functions import rsqrt, sqrt
from tapml_fuzz.oracle.tracked import Arithmetic, Tracked


def power(x: Operand, y: Operand) -> Tracked:
    """x ** y. Small whole and half exponents are the products and roots they are computed by.

    Otherwise the farthest corner of the box (x +- ex, y +- ey), pow being monotone in either, unjudged when x may be
    zero; plus the function's own error.
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
    own = _own(x.value, y.value, value, a.accuracy.of("pow"), a)
    return a.rounded(value, error, (x, y), own=own, unbounded=pole)


def _own(x: Tensor, y: Tensor, value: Tensor, accuracy: Builtin, a: Arithmetic) -> Tensor:
    """The error that pow itself adds to `value = x ** y`.

    Where the table inherits it from exp2(y * log2(x)), `ulp_per_argument` counts per |y log2 x| and `absolute` is that
    of log2.
    """
    own = value.abs().mul_(2 * accuracy.ulp * a.roundoff)
    if accuracy.ulp_per_argument:
        inner = (y * torch.log2(x.abs())).nan_to_num_(0.0, 0.0, 0.0).abs_()
        inner.mul_(2 * accuracy.ulp_per_argument * a.roundoff)
        own += value.abs() * (inner + y.abs() * accuracy.absolute)
    return own


def or_called(product: Tracked, x: Operand, exponent: float) -> Tracked:
    """`product`, which computes `x ** exponent`, as accurate as a pow that the platform's specification promises.

    A pow that is inherited from log2 gives nothing for negative numbers, so there the product must have been taken.
    """
    a = product.arithmetic
    promised = a.accuracy.promised("pow")
    if promised is None or not isinstance(x, Tracked):
        return product
    exact = torch.tensor(exponent, dtype=torch.float64)
    own = _own(x.value.to(torch.float64), exact, product.value, promised, a)
    called = torch.isfinite(product.value)
    if promised.ulp_per_argument:
        called &= ~(x.value < 0)
    own = torch.where(called, own, 0.0)
    return product.with_error(own if product.error is None else own.add_(product.error))


def simple_power(x: Operand, exponent: float) -> Tracked | None:
    """The product or root that computes this power, or None."""
    product = _product(x, exponent)
    return None if product is None else or_called(product, x, exponent)


def _product(x: Operand, exponent: float) -> Tracked | None:
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
