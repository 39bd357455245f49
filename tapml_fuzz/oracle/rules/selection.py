"""Operators that return indices: argmax, top-k, sort. Several indices may be right; see `oracle.selection`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.selection import Selection, Unordered
from tapml_fuzz.oracle.tracked import Tracked


def _selected(
    x: Tracked, values: Tensor, indices: Tensor, dim: int | None, keepdim: bool, distinct: bool
) -> tuple[Tracked, Tracked]:
    """Values move by at most the largest error along `dim`, since rounding may change the order."""
    error = None
    if x.error is not None:
        widest = movement.dense_error(x)
        widest = widest.amax() if dim is None else widest.amax(dim, keepdim=True)
        error = widest.squeeze(dim) if dim is not None and not keepdim else widest
        error = error.expand(values.shape)
    selection = Selection(x.value, x.error, dim, keepdim, distinct)
    picked = Tracked(values, x.arithmetic, error, x.storage_dtype, x.overflows, x.nonnegative)
    return picked, Tracked(indices, x.arithmetic, selection=selection)


def _arg(packet: str) -> None:
    function, extremum = getattr(torch, packet), torch.amax if packet == "argmax" else torch.amin

    @rule(f"aten.{packet}")
    def _(x: Tracked, dim: int | None = None, keepdim: bool = False) -> Tracked:
        indices = function(x.value, dim, keepdim)
        values = extremum(x.value) if dim is None else extremum(x.value, dim, keepdim)
        return _selected(x, values.expand(indices.shape), indices, dim, keepdim, distinct=False)[1]


def _with_indices(packet: str) -> None:
    function = getattr(torch, packet)

    @rule(f"aten.{packet}.dim")
    def _(x: Tracked, dim: int, keepdim: bool = False) -> tuple[Tracked, Tracked]:
        values, indices = function(x.value, dim, keepdim)
        return _selected(x, values, indices, dim, keepdim, distinct=False)


for _packet in ("argmax", "argmin"):
    _arg(_packet)
for _packet in ("max", "min", "median"):
    _with_indices(_packet)


@rule("aten.topk")
def topk(x: Tracked, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tracked, Tracked]:
    """With `sorted=False` every order is right; what there is one of has but one."""
    values, indices = torch.topk(x.value, k, dim, largest, True)
    picked, places = _selected(x, values, indices, dim, keepdim=True, distinct=True)
    if sorted or k < 2:
        return picked, places
    order = Unordered(dim, largest)
    return replace(picked, unordered=order), replace(places, unordered=order)


@rule("aten.sort")
def sort(
    x: Tracked, *rest: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tracked, Tracked]:
    """`sort(x, dim, descending)` and `sort(x, *, stable, dim, descending)`."""
    if rest:
        dim, descending = rest[0], rest[1] if len(rest) > 1 else descending
    values, indices = torch.sort(x.value, stable=bool(stable), dim=dim, descending=descending)
    return _selected(x, values, indices, dim, keepdim=True, distinct=True)


@rule("aten.argsort")
def argsort(x: Tracked, *rest: Any, **options: Any) -> Tracked:
    """The indices of `sort`."""
    return sort(x, *rest, **options)[1]
