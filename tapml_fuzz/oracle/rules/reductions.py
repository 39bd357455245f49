"""Sums, means, variances, norms, extrema, cumulative sums, products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle import reductions as r
from tapml_fuzz.oracle import summation as s
from tapml_fuzz.oracle.powers import power
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.casts import cast
from tapml_fuzz.oracle.tracked import Tracked

Dims = int | Sequence[int] | None


@rule("aten.sum")
def total(x: Tracked, dim: Dims = None, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tracked:
    """The sum over axes, cast to `dtype` first."""
    return r.total(e.floating(cast(x, dtype), x.arithmetic), dim, keepdim)


@rule("aten.mean")
def mean(x: Tracked, dim: Dims = None, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tracked:
    """The mean over axes, cast to `dtype` first."""
    return r.mean(e.floating(cast(x, dtype), x.arithmetic), dim, keepdim)


def _correction(dim: Any, correction: float | None) -> tuple[Dims, float]:
    """`var(x, unbiased)` and `var(x, dim, unbiased)` spell the correction as a flag."""
    if isinstance(dim, bool):
        return None, float(dim)
    return dim, 1.0 if correction is None else float(correction)


@rule("aten.var")
def var(
    x: Tracked, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Tracked:
    """The variance over axes, in two passes."""
    dim, correction = _correction(dim, correction if unbiased is None else float(unbiased))
    return r.moments(x, dim, correction, keepdim)[2]


@rule("aten.std")
def std(
    x: Tracked, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Tracked:
    """The root of the variance."""
    return f.sqrt(var(x, dim, unbiased, keepdim, correction=correction))


@rule("aten.var_mean")
def var_mean(
    x: Tracked, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tracked, Tracked]:
    """The variance and the mean that it is taken about."""
    dim, correction = _correction(dim, correction if unbiased is None else float(unbiased))
    _, centre, variance = r.moments(x, dim, correction, keepdim)
    return variance, r.squeezed(r.updated(centre), r.axes(dim, x.value.ndim), keepdim)


@rule("aten.linalg_vector_norm")
def vector_norm(
    x: Tracked, ord: float = 2, dim: Dims = None, keepdim: bool = False, dtype: torch.dtype | None = None
) -> Tracked:
    """The norm of order `ord`: by counting, sums, squares and roots, or powers."""
    x = cast(x, dtype)
    size = e.absolute(x)
    if ord == math.inf:
        return amax(size, dim, keepdim)
    if ord == -math.inf:
        return amin(size, dim, keepdim)
    if ord == 0:
        ones = Tracked((x.value != 0).to(torch.float64), x.arithmetic, nonnegative=True)
        return r.total(ones, dim, keepdim)
    if ord == 1:
        return r.total(size, dim, keepdim)
    if ord == 2:
        return f.sqrt(r.total(e.square(x), dim, keepdim))
    return power(r.total(power(size, float(ord)), dim, keepdim), 1.0 / float(ord))


@rule("aten.norm")
def norm(x: Tracked, p: float | None = 2, dim: Dims = None, keepdim: bool = False, **options: Any) -> Tracked:
    """`vector_norm` under its older name and arguments."""
    return vector_norm(x, 2 if p is None else p, dim, keepdim, options.get("dtype"))


def _extremum(x: Tracked, dim: Dims, keepdim: bool, function: Callable[..., Tensor]) -> Tracked:
    dims = r.axes(dim, x.value.ndim)
    value = function(x.value, dim=dims, keepdim=keepdim)
    error = None
    if x.error is not None:
        # The interval's ends, each the extremum of ends: an element far below the largest moves it not at all.
        above, below = (function(v, dim=dims, keepdim=keepdim) for v in (x.value + x.error, x.value - x.error))
        error = torch.maximum(above - value, value - below)
        error = torch.where(torch.isnan(error), torch.where(torch.isnan(value), 0.0, torch.inf), error)
    return Tracked(value, x.arithmetic, error, x.storage_dtype, x.overflows, x.nonnegative)


@rule("aten.amax", "aten.max.default")
def amax(x: Tracked, dim: Dims = None, keepdim: bool = False) -> Tracked:
    """The largest over axes."""
    return _extremum(x, dim, keepdim, torch.amax)


@rule("aten.amin", "aten.min.default")
def amin(x: Tracked, dim: Dims = None, keepdim: bool = False) -> Tracked:
    """The smallest over axes."""
    return _extremum(x, dim, keepdim, torch.amin)


@rule("aten.cumsum")
def cumsum(x: Tracked, dim: int, dtype: torch.dtype | None = None) -> Tracked:
    """Each partial sum is a sum of its own; a blocked scan re-associates but adds no more than log2(n) steps."""
    x = e.floating(cast(x, dtype), x.arithmetic)
    a, value = x.arithmetic, torch.cumsum(x.value, dim)
    if value.ndim == 0:
        return x
    weight = torch.cumsum(x.value.abs(), dim)
    n = x.value.shape[dim]
    share = s.largest_share(torch.cummax(x.value.abs(), dim).values, weight) if x.value.numel() else weight
    rows = [1] * value.ndim
    rows[dim] = n
    counts = torch.arange(1, n + 1, dtype=torch.float64).reshape(rows)
    # The first k of n terms repeat k/n times as often as all of them.
    repeats = 1.0 + (s.multiplicity(x.value, dim, a.roundoff) - 1.0) * counts / n
    factor = s.growths(counts, repeats, share)
    own = weight.mul(factor).mul_(a.roundoff)
    error = None if x.error is None else torch.cumsum(x.error.expand(value.shape), dim)
    lost = s.infinite_and_overflowing(
        value, weight, a.largest, lambda: s.parts(x.value, lambda t: torch.cumsum(t, dim))
    )
    return a.rounded(value, error, (x,), own=own, magnitude=weight, nonnegative=x.nonnegative, unbounded=lost)


@rule("aten.prod.default", "aten.prod.dim_int")
def prod(x: Tracked, dim: int | None = None, keepdim: bool = False, dtype: torch.dtype | None = None) -> Tracked:
    """Multiplied up pairwise, so that each factor's error meets the product of the others.

    torch rounds every step to the tensor's dtype (a product loses no more relative accuracy than its steps).
    """
    x = e.floating(cast(x, dtype), x.arithmetic)
    if dim is None:
        x, dim = movement.moved(torch.flatten, x), 0
    shape = list(x.value.shape)
    if not shape:
        return x
    if shape[dim] == 0:
        shape[dim] = 1
        return Tracked(torch.ones(shape, dtype=torch.float64).squeeze(dim), x.arithmetic, None, x.storage_dtype)
    # In another order an intermediate may overflow, or underflow to zero, although the whole product does not.
    like, size = x, x.value.abs()
    most, least = size.clamp(min=1.0).prod(dim, keepdim=True), size.clamp(max=1.0).prod(dim, keepdim=True)
    limits, whole = torch.finfo(x.storage_dtype), x.value.prod(dim, keepdim=True)
    lost = (most > limits.max) & (whole.abs() <= limits.max)
    lost |= (least < limits.smallest_normal) & (whole != 0)
    while x.value.shape[dim] > 1:
        n = x.value.shape[dim]
        pairs = e.store_intermediate(e.mul(_part(x, dim, 0, n // 2), _part(x, dim, n // 2, n // 2)), like)
        rest = [_part(x, dim, n - 1, 1)] if n % 2 else []
        x = movement.merged(lambda parts: torch.cat(list(parts), dim), [pairs, *rest])
    if bool(lost.any()):
        x = x.with_error(torch.where(lost & ~torch.isnan(whole), torch.inf, movement.dense_error(x)))
    return x if keepdim else r.squeezed(x, [dim % x.value.ndim], False)


def _part(x: Tracked, dim: int, start: int, length: int) -> Tracked:
    return movement.moved(torch.narrow, x, dim, start, length)  # type: ignore[no-any-return]
