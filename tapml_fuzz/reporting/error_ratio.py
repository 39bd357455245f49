"""The distance of a standalone script's outputs from the expected ones; a script holds this function's source."""

from __future__ import annotations

from math import inf

import torch


def ratio(actual: torch.Tensor, expected: torch.Tensor, bound: torch.Tensor | None) -> float:
    """max |actual - expected| / bound: 0 is exact, above 1 is a fault; infinite for another class of number or shape.

    Where `bound` is infinite nothing is judged; without one the result must be exact, rounded to its own dtype.
    """
    actual = actual.detach().cpu()
    if actual.shape != expected.shape:
        return inf
    right = expected.to(actual.dtype) if bound is None else expected
    same = (actual == right) | ((actual != actual) & (right != right))
    if bool(same.all()) or bound is None:
        return 0.0 if bool(same.all()) else inf
    # From here on a number rounds to infinity; of float64, in which all of this is computed, only infinity itself.
    limit = inf
    if actual.dtype.is_floating_point and actual.dtype != torch.float64:
        limit = torch.finfo(actual.dtype).max * (1 + torch.finfo(actual.dtype).eps / 2)
    got, low, high = actual.double(), expected - bound, expected + bound
    infinite = ((got == inf) & (high >= limit)) | ((got == -inf) & (low <= -limit))
    fits = infinite | (got.isfinite() & (low < limit) & (high > -limit))
    distance = (got - expected).abs() / bound
    far = torch.where(fits, torch.where(infinite, 0.0, distance), inf)
    return float(torch.where(same | ~bound.isfinite(), 0.0, far).max())
