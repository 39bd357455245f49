"""Comparing one output with its truth, element by element: how far, where worst, and which class of number.

Nothing here knows thresholds beyond the bound itself; kinds and permissions are the judge's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.verdict import Metrics

# Upper edges of the histogram of ratios; the first bin is exactly zero, the last everything beyond.
EDGES = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one output: the largest ratio, the flat index where it is, and what went wrong there.

    `ratio` is infinite where no bound can excuse the element (another class of number, an exact value missed).
    `classes` says that the worst element is of the wrong class (finite, +inf, -inf, NaN) rather than too far.
    """

    ratio: float
    index: int = -1
    classes: bool = False


def difference(
    actual: Tensor, truth: Tensor, bound: Tensor | None, dtype: str, *, assumes_finite: bool = False
) -> Difference:
    """The distance of `actual` (in the output dtype) from `truth` in units of `bound`.

    With `assumes_finite`, elements whose truth is not finite (or overflows) are unjudged.
    """
    if actual.numel() == 0:
        return Difference(0.0)
    if bound is None and not actual.is_floating_point():
        return _exact(actual, truth)
    if not actual.is_floating_point():
        assert bound is not None
        return _banded(actual, truth, bound)
    wide = actual.to(torch.float64)
    if bound is None:
        if torch.equal(wide, truth):
            return Difference(0.0)
        bound = torch.zeros((), dtype=torch.float64)
    else:
        ratios = (wide - truth).abs_().div_(bound)
        worst, index = ratios.reshape(-1).max(dim=0)
        if float(worst) <= 1.0:
            return Difference(float(worst), int(index))
    return _careful(wide, truth, bound.expand(truth.shape), dtype, assumes_finite)


def _exact(actual: Tensor, truth: Tensor) -> Difference:
    if torch.equal(actual, truth):
        return Difference(0.0)
    index = int((actual != truth).reshape(-1).to(torch.uint8).argmax())
    return Difference(float("inf"), index)


def _banded(actual: Tensor, truth: Tensor, bound: Tensor) -> Difference:
    """Integers and booleans where rounding may decide: within the band, whole steps are right answers."""
    # float64 does not tell large integers apart that are not equal.
    distance = (actual.to(torch.float64) - truth.to(torch.float64)).abs().clamp_min(1.0)
    ratios = torch.where(actual == truth, 0.0, distance / bound)
    worst, index = ratios.reshape(-1).max(dim=0)
    return Difference(float(worst), int(index))


def _careful(actual: Tensor, truth: Tensor, bound: Tensor, dtype: str, assumes_finite: bool) -> Difference:
    """The general case: every element by its class."""
    # From here on a number rounds to infinity; of float64, in which all of this is computed, only infinity itself.
    limit = torch.inf if dtype == "float64" else dtypes.largest(dtype) * (1.0 + dtypes.unit_roundoff(dtype))
    unjudged = ~torch.isfinite(bound)
    known = torch.isfinite(truth)
    high, low = truth + bound, truth - bound
    if assumes_finite:
        unjudged |= ~known | (high.abs() >= limit) | (low.abs() >= limit)
    nan = torch.isnan(actual)
    plus, minus = actual == torch.inf, actual == -torch.inf
    finite = torch.isfinite(actual)
    expected_class = torch.where(
        torch.isnan(truth),
        nan,
        (finite & known & (low < limit) & (high > -limit)) | (plus & (high >= limit)) | (minus & (low <= -limit)),
    )
    distance = torch.where(finite & known, (actual - truth).abs(), 0.0)
    ratios = torch.where(distance == 0, 0.0, distance / bound)
    ratios = torch.where(expected_class, ratios, torch.inf)
    ratios = torch.where(unjudged, 0.0, ratios)
    worst, index = ratios.reshape(-1).max(dim=0)
    place = int(index)
    classes = not bool(expected_class.reshape(-1)[place]) and float(worst) > 1.0
    return Difference(float(worst), place, classes)


def metrics(actual: Tensor, truth: Tensor, bound: Tensor | None, dtype: str, ratio: float) -> Metrics:
    """All figures about one output; elements that are not finite on both sides count only in the histogram."""
    if actual.numel() == 0:
        return Metrics(ratio=ratio)
    wide, exact = actual.to(torch.float64).reshape(-1), truth.to(torch.float64).reshape(-1)
    limits = torch.zeros(exact.shape, dtype=torch.float64) if bound is None else bound.expand(truth.shape).reshape(-1)
    both = torch.isfinite(wide) & torch.isfinite(exact)
    distance = torch.where(both, (wide - exact).abs(), 0.0)
    ratios = torch.where(distance == 0, 0.0, distance / limits)
    agree = both | (wide == exact) | (torch.isnan(wide) & torch.isnan(exact)) | ~torch.isfinite(limits)
    ratios = torch.where(agree, ratios, torch.inf)
    edges = torch.tensor(EDGES, dtype=torch.float64)
    bins = torch.bucketize(ratios, edges)  # bin i holds EDGES[i-1] < ratio <= EDGES[i]
    counts = torch.bincount(bins, minlength=len(EDGES) + 1)
    relative = torch.where(exact != 0, distance / exact.abs(), 0.0)
    relative = torch.where(both, relative, 0.0)
    return Metrics(
        ratio=ratio,
        max_abs=float(distance.max()),
        max_rel=float(relative.max()),
        max_ulp=float((distance / _ulp(exact, dtype)).nan_to_num_(0.0).max()),
        cosine=_cosine(wide[both], exact[both]),
        histogram=tuple(int(c) for c in counts),
    )


def _ulp(exact: Tensor, dtype: str) -> Tensor:
    """Spacing of the output dtype's numbers at |exact|; 1 for integers."""
    if not dtypes.is_float(dtype):
        return torch.ones(exact.shape, dtype=torch.float64)
    magnitude = exact.abs().clamp(dtypes.smallest_normal(dtype), dtypes.largest(dtype))
    exponent = torch.frexp(magnitude).exponent - 1
    return 2 * dtypes.unit_roundoff(dtype) * torch.exp2(exponent.to(torch.float64))


def _cosine(x: Tensor, y: Tensor) -> float:
    """Of the finite elements, scaled first so that squares do not overflow; 1 when both are zero."""
    top_x, top_y = (float(t.abs().max()) if t.numel() else 0.0 for t in (x, y))
    if top_x == 0.0 or top_y == 0.0:
        return 1.0 if top_x == top_y else 0.0
    x, y = x / top_x, y / top_y
    return float((x @ y) / (x.norm() * y.norm()))
