"""Extents: as much of each axis as fits in a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators.invoke import call, torch_dtype

# What stays of an axis while axes further to the right still have their full length, by distance from the last:
# a batch of 2 shows what a batch does; 8 rows show what rows do; 16 channels, what a reduction does.
_FLOORS = {0: 16, 1: 8}
_BATCH_FLOOR = 2
# An axis that others point into needs rows enough for them to point to (chosen).
_INDEXED_FLOOR = 32


def distance(operator: Operator, name: str) -> int:
    """The distance of an axis from the last axis of a tensor, at its closest; 1 where no tensor carries it."""
    found = [
        len(axes) - 1 - position for axes in operator.axes for position, size in enumerate(axes) if name in size.axes
    ]
    return min(found, default=1)


def shrunk(operator: Operator, sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Sizes of at most `limit` input elements and twice as many output elements, none larger than in `sizes`.

    Outer axes give way first: operators reduce over inner ones, and a softmax or normalisation over a whole row
    of real activations is worth more than over many pieces of rows.
    """
    result = _fewer_pointers(operator, dict(sizes), limit)
    stages: dict[int, list[str]] = {}
    for name in operator.axis_names:
        stages.setdefault(min(2, distance(operator, name)), []).append(name)
    indexed = {name for index in operator.indexes for name in index.extent.axes}
    for stage in sorted(stages, reverse=True):
        floor = _FLOORS.get(stage, _BATCH_FLOOR)
        result = _capped(operator, result, [n for n in stages[stage] if n not in indexed], floor, limit)
        result = _capped(operator, result, [n for n in stages[stage] if n in indexed], _INDEXED_FLOOR, limit)
    return _capped(operator, result, list(operator.axis_names), 1, limit)


def _fewer_pointers(operator: Operator, sizes: dict[str, int], limit: int) -> dict[str, int]:
    """Where it does not all fit, cut tensors that point into many rows before the rows they point to."""
    for index in operator.indexes:
        if index.extent.value(sizes) <= _INDEXED_FLOOR or _elements(operator, sizes) <= limit:
            continue
        own = sorted({name for product in operator.axes[index.slot] for name in product.axes})
        while math.prod(operator.shapes(sizes)[index.slot]) > 2 * _INDEXED_FLOOR:
            longest = max(own, key=lambda name: sizes[name], default=None)
            if longest is None or sizes[longest] <= 1:
                break
            sizes = {**sizes, longest: (sizes[longest] + 1) // 2}
    return sizes


def _capped(operator: Operator, sizes: dict[str, int], names: list[str], floor: int, limit: int) -> dict[str, int]:
    """`sizes` with the axes in `names` held under the largest common cap, not below `floor`, that keeps the limit."""

    def with_cap(cap: int) -> dict[str, int]:
        return {name: min(size, cap) if name in names else size for name, size in sizes.items()}

    if _elements(operator, sizes) <= limit:
        return sizes
    low, high = floor, max([sizes[name] for name in names], default=floor)
    while low < high:
        middle = (low + high + 1) // 2
        if _elements(operator, with_cap(middle)) <= limit:
            low = middle
        else:
            high = middle - 1
    return with_cap(low)


def _elements(operator: Operator, sizes: Mapping[str, int]) -> int:
    """Input elements, or half the output elements where those are more."""
    shapes = operator.shapes(sizes)
    inputs = sum(math.prod(shape) for shape in shapes)
    tensors = [
        torch.empty(shape, dtype=torch_dtype(dtype), device="meta")
        for shape, dtype in zip(shapes, operator.dtypes, strict=True)
    ]
    try:
        outputs = sum(output.numel() for output in call(operator, tensors, sizes))
    except (RuntimeError, NotImplementedError, IndexError, ValueError):
        outputs = 0  # no meta kernel, or sizes that it rejects: the caller's own run decides
    return max(inputs, outputs // 2)
