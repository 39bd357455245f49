"""Reductions: sums, means and variances over axes, with the rounding that `summation` grants them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tapml_fuzz.oracle.elementwise import Operand, div, floating, square, sub
from tapml_fuzz.oracle.summation import (
    absorbed,
    growth,
    infinite_and_overflowing,
    largest_share,
    multiplicity,
    parts,
)
from tapml_fuzz.oracle.tracked import Tracked


def axes(dims: int | Sequence[int] | None, ndim: int) -> list[int]:
    """The axes a reduction names, none or an empty list meaning all, as nonnegative numbers."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return list(range(ndim))
    listed = [dims] if isinstance(dims, int) else list(dims)
    return sorted(d % ndim for d in listed) if ndim else []


def total(
    x: Operand, dims: int | Sequence[int] | None = None, keepdim: bool = False, *, updating: bool = False
) -> Tracked:
    """The sum over `dims` in the working precision; see `multiplicity` for `updating`."""
    assert isinstance(x, Tracked)
    a = x.arithmetic
    x = floating(x, a)
    reduced = axes(dims, x.value.ndim)
    n = math.prod(x.value.shape[d] for d in reduced)
    if n == 0:
        return Tracked(x.value.sum(dim=reduced, keepdim=keepdim), a, None, a.dtype, nonnegative=True)
    if not reduced or n == 1:
        return squeezed(x, reduced, keepdim)
    terms, kept = x.value, reduced
    value = terms.sum(dim=kept, keepdim=True)
    magnitudes = terms if x.nonnegative else terms.abs()
    weight = value if x.nonnegative else magnitudes.sum(dim=kept, keepdim=True)
    if len(kept) == 1:
        repeats = multiplicity(terms, kept[0], a.roundoff, updating=updating)
    else:
        flat = terms.movedim(kept, list(range(-len(kept), 0))).flatten(-len(kept))
        repeats = multiplicity(flat, -1, a.roundoff, updating=updating)
        if isinstance(repeats, Tensor):
            repeats = repeats.reshape(value.shape)
    share = largest_share(magnitudes.amax(dim=kept, keepdim=True), weight)
    own = weight * growth(n, repeats, share) * a.roundoff
    if (lost := absorbed(terms, weight, a.roundoff)) is not None:
        own = torch.minimum(own + lost, weight * ((n - 1) * a.roundoff))
    error = None
    if x.error is not None:
        error = x.error.expand(terms.shape).sum(dim=kept, keepdim=True)
    unsure = infinite_and_overflowing(
        value, weight, a.largest, lambda: parts(x.value, lambda t: t.sum(dim=kept, keepdim=True))
    )
    result = a.rounded(
        value,
        error,
        (x,),
        own=own,
        underflows=a.flush,
        nonnegative=x.nonnegative,
        magnitude=weight,
        unbounded=unsure,
    )
    return squeezed(result, reduced, keepdim)


def squeezed(x: Tracked, dims: list[int], keepdim: bool) -> Tracked:
    """Drop reduced axes of size one, unless they are kept."""
    if keepdim or not dims:
        return x
    error = None if x.error is None else x.error.expand(x.value.shape).squeeze(dims)
    return Tracked(
        x.value.squeeze(dims), x.arithmetic, error, x.storage_dtype, overflows=x.overflows, nonnegative=x.nonnegative
    )


def count(x: Tracked, dims: int | Sequence[int] | None) -> int:
    """Number of terms of a reduction over `dims`."""
    return math.prod(x.value.shape[d] for d in axes(dims, x.value.ndim))


def mean(
    x: Operand, dims: int | Sequence[int] | None = None, keepdim: bool = False, *, updating: bool = False
) -> Tracked:
    """The sum over the count."""
    assert isinstance(x, Tracked)
    return div(total(x, dims, keepdim, updating=updating), float(count(x, dims)))


def moments(
    x: Operand, dims: int | Sequence[int] | None, correction: float = 0.0, keepdim: bool = True
) -> tuple[Tracked, Tracked, Tracked]:
    """(x - mean, mean, variance), the mean with its axes kept.

    Two passes. The error of the mean enters each deviation to first order, which is also the bound of Welford's
    and of blocked updating (relative error of about n u sqrt(1 + mean^2/variance)); the textbook E[x^2] - E[x]^2
    has the square of that condition number and stays outside.
    """
    assert isinstance(x, Tracked)
    centre = mean(x, dims, keepdim=True, updating=True)
    deviation = sub(x, centre)
    squares = total(square(deviation), dims, keepdim)
    variance = div(squares, max(count(x, dims) - correction, 0.0))
    return deviation, centre, variance


def updated(centre: Tracked) -> Tracked:
    """An updated mean (Welford) of a row that holds an infinity is NaN, a summed one infinite: unjudged."""
    infinite = torch.isinf(centre.value)
    if not bool(infinite.any()):
        return centre
    return centre.with_error(torch.where(infinite, torch.inf, 0.0 if centre.error is None else centre.error))
