"""Outputs of which several are right: indices that select equal values, and values in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tapml_fuzz.oracle.difference import Difference


@dataclass(frozen=True, slots=True)
class Selection:
    """The values that an index output selects from, where ties or rounding leave several right answers.

    `source` holds the values that were compared along `dim`; `distinct` asks that no index repeats along `dim`
    (top-k, sort).
    """

    source: Tensor
    error: Tensor | None
    dim: int | None
    keepdim: bool
    distinct: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Unordered:
    """Along `dim` any order is right, the same one in all outputs that share this object; the truth is sorted."""

    dim: int
    descending: bool


def selection_difference(actual: Tensor, truth: Tensor, selection: Selection) -> tuple[Difference, str]:
    """Judge indices by what they select: in range, distinct where asked, and as good as the expected ones.

    Returns the difference and, when it fails, the reason.
    """
    if actual.numel() == 0:
        return Difference(0.0), ""
    source, dim = selection.source, selection.dim
    error = selection.error
    if dim is None:
        source, dim = source.reshape(-1), 0
        error = None if error is None else error.expand(selection.source.shape).reshape(-1)
        actual, truth = actual.reshape(-1), truth.reshape(-1)
    elif source.ndim == 0:
        source = source.reshape(1)
        actual, truth = actual.reshape(1), truth.reshape(1)
    elif not selection.keepdim:
        actual, truth = actual.unsqueeze(dim), truth.unsqueeze(dim)
    extent = source.shape[dim]
    outside = (actual < 0) | (actual >= extent)
    if bool(outside.any()):
        return Difference(float("inf"), _first(outside)), f"index out of range for {extent} elements"
    if selection.distinct and actual.shape[dim] > 1:
        ordered = actual.sort(dim=dim).values
        if bool((ordered.diff(dim=dim) == 0).any()):
            return Difference(float("inf"), _repeated(actual, dim)), "an index occurs twice"
    if torch.equal(actual, truth):
        return Difference(0.0), ""
    chosen, best = source.gather(dim, actual.long()), source.gather(dim, truth.long())
    same = (chosen == best) | (torch.isnan(chosen) & torch.isnan(best))
    if error is not None and source.is_floating_point():
        spread = error.expand(source.shape)
        slack = spread.amax(dim, keepdim=True) + spread.gather(dim, actual.long())
        same |= (chosen - best).abs() <= slack
    if bool(same.all()):
        return Difference(0.0), ""
    return Difference(float("inf"), _first(~same)), "the index does not select the right value"


def arranged(
    outputs: Sequence[Tensor], selections: Sequence[Selection | None], unordered: Sequence[Unordered | None]
) -> list[Tensor]:
    """Outputs that may come in any order, brought into the truth's.

    One permutation, by what the indices select where there are any, moves all outputs of an operator: a value that
    stands beside another value's index stays there, and is wrong.
    """
    result = list(outputs)
    for order in dict.fromkeys(u for u in unordered if u is not None):
        dim = order.dim
        together = [i for i, u in enumerate(unordered) if u is order]
        keys = result[together[0]]
        for i in together:
            if (selection := selections[i]) is not None:
                # An index out of range has no order; it is told by `selection_difference`.
                keys = selection.source.gather(dim, result[i].long().clamp(0, selection.source.shape[dim] - 1))
        places = keys.sort(dim=dim, descending=order.descending, stable=True).indices
        for i in together:
            result[i] = result[i].gather(dim, places)
    return result


def _first(mask: Tensor) -> int:
    return int(mask.reshape(-1).to(torch.uint8).argmax())


def _repeated(indices: Tensor, dim: int) -> int:
    """Flat position of the first index that occurred before it along `dim`."""
    rows = indices.movedim(dim, -1)
    earlier = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).tril(-1).any(-1)
    return _first(earlier.movedim(-1, dim))
