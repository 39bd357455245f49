"""Taking a subset of an axis out of a case, consistently over every tensor that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Product


def take(case: Case, axis: str, kept: Sequence[int]) -> Case:
    """The case with only the elements `kept` of the named axis, wherever that axis occurs.

    Indices that point into the axis follow their element to its new place, or to place 0 when it is gone.
    """
    sizes = {**case.sizes, axis: len(kept)}
    tensors = [
        _take_in(tensor, case.operator.axes[slot], axis, kept, case.sizes) for slot, tensor in enumerate(case.tensors)
    ]
    for spec in case.operator.indexes:
        if spec.extent.axes == (axis,):
            tensors[spec.slot] = _remapped(tensors[spec.slot], case.sizes[axis], kept)
    return case.with_tensors(tuple(tensors), sizes)


def _take_in(tensor: Array, axes: Sequence[Product], name: str, kept: Sequence[int], sizes: Mapping[str, int]) -> Array:
    for position, product in enumerate(axes):
        if name not in product.axes:
            continue
        # A product axis is unfolded into its factors, cut along the named one and folded again.
        factors = [*(sizes[a] for a in product.axes), product.constant]
        before, after = tensor.shape[:position], tensor.shape[position + 1 :]
        unfolded = tensor.reshape(*before, *factors, *after)
        cut = np.take(unfolded, list(kept), axis=len(before) + product.axes.index(name))
        factors[product.axes.index(name)] = len(kept)
        tensor = cut.reshape(*before, int(np.prod(factors)), *after)
    return tensor


def _remapped(indices: Array, extent: int, kept: Sequence[int]) -> Array:
    places = np.zeros(max(extent, 1), dtype=np.int64)
    places[list(kept)] = np.arange(len(kept))
    return np.asarray(places[np.mod(indices, max(extent, 1))].astype(indices.dtype))
