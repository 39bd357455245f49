"""Sums: how much rounding a correct sum of n terms may gather, in any order.

Adding in whatever order (sequential, reversed, blocked, pairwise, with or without fused multiply-add), each of
the n - 1 additions rounds by at most u times a partial sum, and a partial sum is at most sum|t|. So the error is
at most (n - 1) u sum|t|, and for roundings that behave as independent it is about sqrt(n) u sum|t| at the very
most (Higham and Mary 2019). They do *not* behave as independent when terms repeat: adding one and the same
number over and over rounds the same way each time, n/2 * u * sum|t| in all. `repetition` finds that in the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.oracle.constants import DOMINATED, GROWTH, SYSTEMATIC_BELOW
from tapml_fuzz.oracle.elementwise import Operand, div, floating, square, sub
from tapml_fuzz.oracle.tracked import Tracked


def growth(n: int, repeated: Tensor | float = 0.0, share: Tensor | float = 0.0) -> Tensor | float:
    """g(n), the factor of u * sum|t|.

    `repeated` in [0, 1] says how far the terms repeat (see `repetition`), `share` which part of the sum the largest
    term may be (see `largest_share`).
    """
    if n <= 1:
        return 0.0
    walk = math.sqrt(n)
    usual, systematic = GROWTH * walk, repeated * (n / 2)
    if n <= SYSTEMATIC_BELOW:
        usual, systematic = max(usual, n / 2), 0.0
    total = share * max(DOMINATED * walk - usual, 0.0) + usual + systematic
    return total.clamp_max_(n - 1) if isinstance(total, Tensor) else min(total, n - 1.0)


def largest_share(largest: Tensor, weight: Tensor) -> Tensor:
    """Part of a sum of magnitudes `weight` that its largest term makes up, given that term or a bound on it."""
    return (largest / weight).nan_to_num(0.0).clamp_max_(1.0)


def repetition(terms: Tensor, dim: int, roundoff: float, *, updating: bool = False) -> Tensor | float:
    """How far the terms along `dim` repeat: 0 where all differ, 1 where all are equal, keeping `dim` as 1.

    With `updating`, steps between neighbours count as well: a running mean (Welford) over a ramp adds one and the
    same increment again and again.
    """
    n = terms.shape[dim]
    if n <= SYSTEMATIC_BELOW or terms.numel() == 0:
        return 0.0
    count = min(256, max(16, n // 8))
    # An even stride, but odd, so that a period of two or four in the data does not hide half of it.
    stride = max(1, n // count)
    stride -= 1 - stride % 2 if stride > 1 else 0
    # numpy sorts short rows of floats an order of magnitude faster than torch.
    rows = terms.movedim(dim, -1).numpy()
    sample = rows[..., : stride * (count - 1) + 1 : stride]
    largest = np.abs(sample).max(axis=-1, keepdims=True)
    repeated = _ties(sample, largest * (2 * roundoff * n))
    if updating:
        with np.errstate(invalid="ignore"):
            steps = rows[..., 1::stride][..., :count] - rows[..., :-1:stride][..., :count]
        repeated = np.maximum(repeated, _ties(steps, largest * (8 * roundoff)))
    if not repeated.any():
        return 0.0
    return torch.from_numpy(repeated).movedim(-1, dim)


def _ties(sample: Array, spacing: Array) -> Array:
    """Of each row, the share of sorted neighbours that are equal, as sqrt, one pair in 32 being taken for chance.

    Equal means closer than both `spacing`, that of the numbers a sum is rounded to, and 1/512 of the mean gap; where
    a whole row spreads less than `spacing`, everything is equal. Zeros do not count (adding zero does not round).
    With D values that differ the mean rounding shrinks like 1/sqrt(D), hence the square root.
    """
    ordered = np.sort(sample, axis=-1)
    pairs = sample.shape[-1] - 1
    with np.errstate(invalid="ignore"):
        gaps, spread = np.diff(ordered, axis=-1), ordered[..., -1:] - ordered[..., :1]
        close = np.where(spread <= spacing, spread, np.minimum(spread / (512 * pairs), spacing))
        equal = ((gaps <= close) & (ordered[..., 1:] != 0)).sum(axis=-1, keepdims=True)
    share: Array = np.sqrt(np.maximum(equal - (pairs + 1) // 32, 0) / pairs)
    return share


def axes(dims: int | Sequence[int] | None, ndim: int) -> list[int]:
    """The axes a reduction names, none or an empty list meaning all, as nonnegative numbers."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return list(range(ndim))
    listed = [dims] if isinstance(dims, int) else list(dims)
    return sorted(d % ndim for d in listed) if ndim else []


def total(
    x: Operand, dims: int | Sequence[int] | None = None, keepdim: bool = False, *, updating: bool = False
) -> Tracked:
    """The sum over `dims` in the working precision; see `repetition` for `updating`."""
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
    if n <= SYSTEMATIC_BELOW:
        repeated: Tensor | float = 0.0
    elif len(kept) == 1:
        repeated = repetition(terms, kept[0], a.roundoff, updating=updating)
    else:
        flat = terms.movedim(kept, list(range(-len(kept), 0))).flatten(-len(kept))
        repeated = repetition(flat, -1, a.roundoff, updating=updating)
        if isinstance(repeated, Tensor):
            repeated = repeated.reshape(value.shape)
    share = largest_share(magnitudes.amax(dim=kept, keepdim=True), weight)
    own = weight * growth(n, repeated, share) * a.roundoff
    error = None
    if x.error is not None:
        error = x.error.expand(terms.shape).sum(dim=kept, keepdim=True)
    lost = infinite_and_overflowing(
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
        unbounded=lost,
    )
    return squeezed(result, reduced, keepdim)


def infinite_and_overflowing(
    value: Tensor, weight: Tensor, largest: float, signed: Callable[[], tuple[Tensor, Tensor]]
) -> Tensor | None:
    """Where a sum that overflows, or holds an infinity, may meet an overflow of the other sign on its way.

    Depending on the order of additions the result is then either infinity or NaN. `weight` is sum|t|; `signed` gives
    the sums of the finite positive and of the finite negative terms (as magnitudes) and is only called when needed.
    """
    if weight.numel() == 0 or float(weight.amax()) <= largest or not bool((beyond := value.abs() > largest).any()):
        return None
    positive, negative = signed()
    # Half the limit, since rounding on the way may carry a partial sum over it.
    both = torch.minimum(positive, negative) > largest / 2
    return beyond & torch.where(torch.isinf(value), positive + negative > largest, both)


def parts(x: Tensor, summed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """A linear sum of the finite positive terms alone, and of the finite negative ones as magnitudes."""
    known = x.nan_to_num(0.0, 0.0, 0.0)
    return summed(known.clamp_min(0)), summed(-known.clamp_max(0))


def product_parts(x: Tensor, y: Tensor, summed: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The same for a sum of products x y that is linear in both."""
    plus, minus = parts(x, lambda raised: summed(raised, y.nan_to_num(0.0, 0.0, 0.0).clamp_min(0)))
    crossed, mixed = parts(x, lambda raised: summed(raised, -y.nan_to_num(0.0, 0.0, 0.0).clamp_max(0)))
    return plus + mixed, crossed + minus


def squeezed(x: Tracked, dims: list[int], keepdim: bool) -> Tracked:
    """Drop reduced axes of size one, unless they are kept."""
    if keepdim or not dims:
        return x
    error = None if x.error is None else x.error.expand(x.value.shape).squeeze(dims)
    return Tracked(x.value.squeeze(dims), x.arithmetic, error, x.grid, overflows=x.overflows, nonnegative=x.nonnegative)


def count(x: Tracked, dims: int | Sequence[int] | None) -> int:
    """Number of terms of a reduction over `dims`."""
    return math.prod(x.value.shape[d] for d in axes(dims, x.value.ndim))


def mean(
    x: Operand, dims: int | Sequence[int] | None = None, keepdim: bool = False, *, updating: bool = False
) -> Tracked:
    """The sum over the count. An updated mean (Welford) divides at every step, and each quotient may underflow."""
    assert isinstance(x, Tracked)
    n = count(x, dims)
    result = div(total(x, dims, keepdim, updating=updating), float(n))
    if not updating or result.error is None:
        return result
    return result.with_error(result.error + n / 2 * x.arithmetic.underflow)


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
