"""Sums: how much rounding a correct sum of n terms may gather, in any order.

Adding in whatever order (sequential, reversed, blocked, pairwise, with or without fused multiply-add), each of
the n - 1 additions rounds by at most u times a partial sum, and a partial sum is at most sum|t|. So the error is
at most (n - 1) u sum|t|, and for roundings that behave as independent it is about sqrt(n) u sum|t| at the very
most (Higham and Mary 2019). Two things make them anything but independent, and both can be seen in the data:

- *Terms that repeat.* Within one binade of the partial sum, a term rounds the same way every time it is added: n terms
  of which each occurs m times walk like sqrt(n m), and n equal terms lose up to n/2. `multiplicity` measures m.
- *Terms below the spacing of the partial sum*, each of which is dropped, or rounded up, whole. `absorbed` adds them up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.oracle.constants import DOMINATED, GROWTH, SYSTEMATIC_BELOW


def growth(n: int, repeats: Tensor | float = 1.0, share: Tensor | float = 0.0) -> Tensor | float:
    """g(n), the factor of u * sum|t| for a sum of `n` terms.

    `repeats` in [1, n] says how often each term occurs (see `multiplicity`), `share` in [0, 1] which part of the sum
    the largest term may be (see `largest_share`).
    """
    if n <= 1:
        return 0.0
    if isinstance(repeats, Tensor) or isinstance(share, Tensor):
        return growths(_tensor(n), _tensor(repeats), _tensor(share))
    return float(growths(_tensor(n), _tensor(repeats), _tensor(share)))


def growths(n: Tensor, repeats: Tensor, share: Tensor) -> Tensor:
    """The same for many sums at once; the three broadcast."""
    usual = GROWTH + (DOMINATED - GROWTH) * share
    # Every rounding may point the same way: half a partial sum on average, a whole one where one term is most of it.
    alike = torch.where(n <= SYSTEMATIC_BELOW, n / 2, torch.minimum(usual * (n * repeats).sqrt(), n / 2 * (1 + share)))
    return torch.minimum(torch.maximum(usual * n.sqrt(), alike), (n - 1).clamp_min(0.0))


def _tensor(x: Tensor | float) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(float(x), dtype=torch.float64)


def largest_share(largest: Tensor, weight: Tensor) -> Tensor:
    """Part of a sum of magnitudes `weight` that its largest term makes up, given that term or a bound on it."""
    return (largest / weight).nan_to_num(0.0).clamp_max_(1.0)


def multiplicity(terms: Tensor, dim: int, roundoff: float, *, updating: bool = False) -> Tensor | float:
    """The number of times that each term along `dim` occurs, from 1 where all differ to n; `dim` is kept as 1.

    Estimated from the pairs that are equal in a sample of the terms. With `updating`, steps between neighbours count as
    well: a running mean (Welford) over a ramp adds one and the same increment again and again.
    """
    n = terms.shape[dim]
    if n <= SYSTEMATIC_BELOW or terms.numel() == 0:
        return 1.0
    # numpy sorts short rows of floats an order of magnitude faster than torch.
    rows, places = terms.movedim(dim, -1).numpy(), _sampled(n)
    sample = rows[..., places]
    largest = np.abs(sample).max(axis=-1, keepdims=True)
    pairs = _equal_pairs(sample, largest * (2 * roundoff * n))
    if updating:
        with np.errstate(invalid="ignore"):
            steps = rows[..., np.minimum(places + 1, n - 1)] - sample
        pairs = np.maximum(pairs, _equal_pairs(steps, largest * (8 * roundoff)))
    if not pairs.any():
        return 1.0
    return torch.from_numpy(1.0 + (n - 1) * pairs).movedim(-1, dim)


@lru_cache(maxsize=256)
def _sampled(n: int) -> npt.NDArray[np.int64]:
    """Places of the terms that are looked at, of n: an eighth, at random, so that no period in the data hides."""
    return np.sort(np.random.default_rng(n).choice(n, min(n, max(32, n // 8)), replace=False))


def _equal_pairs(sample: Array, spacing: Array) -> Array:
    """Of each row, the share of pairs that are equal, one neighbour in 32 being taken for chance.

    Equal means closer than both `spacing`, that of the numbers a sum is rounded to, and 1/512 of the mean gap; where
    a whole row spreads less than `spacing`, everything is equal. Zeros do not count (adding zero does not round).
    """
    ordered = np.sort(sample, axis=-1)
    count = sample.shape[-1]
    with np.errstate(invalid="ignore"):
        gaps, spread = np.diff(ordered, axis=-1), ordered[..., -1:] - ordered[..., :1]
        close = np.where(spread <= spacing, spread, np.minimum(spread / (512 * (count - 1)), spacing))
        equal = (gaps <= close) & (ordered[..., 1:] != 0)
    if not equal.any():
        return np.zeros((*sample.shape[:-1], 1))
    # In a run of c equal terms the k-th has k equal ones before it: c (c - 1) / 2 pairs.
    numbers = np.arange(1, count)
    before = numbers - np.maximum.accumulate(np.where(equal, 0, numbers), axis=-1)
    pairs = before.sum(axis=-1, keepdims=True)
    share: Array = np.maximum(pairs - count // 32, 0) / (count * (count - 1) / 2)
    return share


# Terms this many spacings of the sum wide or less may be rounded alike; wider ones scatter over all remainders, as the
# random walk of `growth` has them (chosen).
_TINY = 4.0


def absorbed(terms: Tensor, weight: Tensor, roundoff: float) -> Tensor | None:
    """The loss of tiny terms against a partial sum as large as `weight` (sum|t|, reduced axes kept as 1), or None.

    Added to a number whose spacing is s, a term below s / 2 is dropped whole and one below s becomes s, the same way
    whenever it is added. The loss is that at the spacing of the whole sum or of its half, whichever is larger.
    """
    if terms.numel() <= SYSTEMATIC_BELOW * weight.numel():
        return None
    # s lies between 2 u |sum| and 4 u |sum|: numbers of a binade are evenly spaced.
    mantissa, exponent = np.frexp(weight.numpy())
    spacing = np.ldexp(np.full_like(mantissa, 2 * roundoff), exponent)
    all_terms = terms.numpy()
    tiny = (np.abs(all_terms) <= spacing * _TINY) & (all_terms != 0)
    if not tiny.any():
        return None
    small = all_terms[tiny]
    shape = all_terms.shape
    storage_dtype = np.broadcast_to(spacing, shape)[tiny]
    owner = np.broadcast_to(np.arange(spacing.size).reshape(spacing.shape), shape)[tiny]
    worst = np.zeros(spacing.size)
    for step in (storage_dtype, storage_dtype / 2):
        lost = small - np.rint(small / step) * step
        for side in (small > 0, small < 0):
            worst = np.maximum(worst, np.abs(np.bincount(owner[side], lost[side], spacing.size)))
    return torch.from_numpy(np.where(np.isfinite(weight.numpy()), worst.reshape(spacing.shape), 0.0))


def absorbed_products(x: Tensor, y: Tensor, roundoff: float) -> Tensor | None:
    """The same for the terms of x @ y that are tiny beside the largest of their row of x, or column of y, or None.

    That is how attention weighs what it hardly looks at. All of these terms may be lost.
    """
    lost = None
    if x.shape[-1] <= SYSTEMATIC_BELOW:
        return None
    for tiny, reduced in ((x, -1), (y, -2)):
        size = tiny.abs()
        small = size <= size.amax(reduced, keepdim=True) * (2 * roundoff * _TINY)
        if bool((small & (size > 0)).any()):
            kept = torch.where(small, tiny, 0.0)
            part = (kept @ y if reduced == -1 else x @ kept).abs().nan_to_num_(0.0, 0.0, 0.0)
            lost = part if lost is None else lost + part
    return lost


def infinite_and_overflowing(
    value: Tensor, weight: Tensor, largest: float, signed: Callable[[], tuple[Tensor, Tensor]]
) -> Tensor | None:
    """A mask of where a sum that overflows, or holds an infinity, may meet an overflow of the other sign on its way.

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
