"""Data movement: values and errors travel together and nothing is rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle.elementwise import floating
from tapml_fuzz.oracle.tracked import Tracked


def moved(function: Callable[..., Any], x: Tracked, *rest: Any, **options: Any) -> Any:
    """Apply a movement to a value and its error. Several outputs come back as a tuple.

    Index tensors among `rest` are used by their values; where an index is itself uncertain (a rounded value
    decided it), nothing can be said about what it fetches.
    """
    uncertain = any(bool((t.error > 0).any()) for t in _tracked(rest) if t.error is not None)
    rest = _values(rest)
    value = function(x.value, *rest, **options)
    error: Any = None
    if x.error is not None:
        error = function(x.error.expand(x.value.shape), *rest, **options)
    if isinstance(value, Tensor):
        if uncertain:
            error = torch.full(value.shape, torch.inf, dtype=torch.float64)
        return replace(x, value=value, error=error, selection=None)
    errors = [None] * len(value) if error is None else error
    return tuple(replace(x, value=v, error=e, selection=None) for v, e in zip(value, errors, strict=True))


def merged(function: Callable[[Sequence[Tensor]], Tensor], parts: Sequence[Tracked]) -> Tracked:
    """A movement that puts several tensors into one: `function` gets their values, then their errors."""
    parts = alike(parts)
    value = function([p.value for p in parts])
    error = None
    if any(p.error is not None for p in parts):
        error = function([dense_error(p) for p in parts])
    grids = {p.storage_dtype for p in parts}
    return Tracked(
        value,
        parts[0].arithmetic,
        error,
        storage_dtype=grids.pop() if len(grids) == 1 else parts[0].arithmetic.dtype,
        overflows=any(p.overflows for p in parts),
        nonnegative=all(p.nonnegative for p in parts),
    )


def alike(parts: Sequence[Tracked]) -> Sequence[Tracked]:
    """Integers become floating numbers where they meet them."""
    if any(p.is_floating for p in parts) and not all(p.is_floating for p in parts):
        return [floating(p, p.arithmetic) for p in parts]
    return parts


def dense_error(x: Tracked) -> Tensor:
    """The error as a tensor of the value's shape, zeros for None."""
    if x.error is None:
        return torch.zeros(x.value.shape, dtype=torch.float64)
    return x.error.expand(x.value.shape)


def stored(number: float, x: Tracked) -> float:
    """A scalar as it is when written into the tensor `x`: rounded to its grid, which every platform does alike."""
    if not x.is_floating:
        return number
    with np.errstate(over="ignore"):
        return float(np.asarray(number, dtype=dtypes.numpy_dtype(str(x.storage_dtype).removeprefix("torch."))))


def _tracked(items: Any) -> list[Tracked]:
    if isinstance(items, Tracked):
        return [items]
    if isinstance(items, list | tuple):
        return [t for item in items for t in _tracked(item)]
    return []


def _values(items: Any) -> Any:
    if isinstance(items, Tracked):
        return items.value
    if isinstance(items, list | tuple):
        return type(items)(_values(item) for item in items)
    return items
