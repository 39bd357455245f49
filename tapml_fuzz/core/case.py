"""One concrete input of one operator."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator

# How a tensor lies in memory: packed; axes stored in reverse order; every second element of a wider buffer;
# starting one element into a larger buffer. The values and the shape are the same in all of them.
Layout = Literal["contiguous", "transposed", "strided", "offset"]
LAYOUTS: tuple[Layout, ...] = ("contiguous", "transposed", "strided", "offset")

PACKED: Layout = "contiguous"


@dataclass(frozen=True, eq=False)
class Case:
    """Tensors (numpy, one per slot of the operator) with the axis sizes that made their shapes.

    `layouts` names, per tensor, how it lies in memory when it is run; the arrays here are packed.
    `origin` says where the case came from: `"seed:<id>"` when it is a recorded call as it was, otherwise the
    strategy's phase.
    """

    operator: Operator
    sizes: Mapping[str, int]
    tensors: tuple[Array, ...]
    layouts: tuple[Layout, ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.layouts:
            object.__setattr__(self, "layouts", (PACKED,) * len(self.tensors))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Names of the dtypes, one per tensor."""
        return tuple(dtypes.name_of(t) for t in self.tensors)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes, one per tensor."""
        return tuple(t.shape for t in self.tensors)

    @property
    def elements(self) -> int:
        """Number of input elements over all tensors."""
        return sum(t.size for t in self.tensors)

    @cached_property
    def id(self) -> str:
        """Content hash over operator, sizes, layouts, dtypes, shapes and raw bytes."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.operator.key, sorted(self.sizes.items()), self.layouts)).encode())
        for tensor in self.tensors:
            digest.update(repr((dtypes.name_of(tensor), tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()

    def with_tensors(self, tensors: tuple[Array, ...], sizes: Mapping[str, int] | None = None) -> Case:
        """The same operator on other data; the origin becomes unknown, since the data is no longer as recorded."""
        return replace(self, tensors=tensors, sizes=self.sizes if sizes is None else sizes, origin="")


def as_laid_out(array: Array, layout: Layout) -> Array:
    """A view with the values of `array` and the memory layout asked for (strides differ, elements do not)."""
    if layout == "contiguous" or array.ndim == 0:
        return np.ascontiguousarray(array).reshape(array.shape)
    if layout == "transposed":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    flat = np.zeros(array.size + 1, array.dtype)
    flat[1:] = array.reshape(-1)
    return flat[1:].reshape(array.shape)


__all__ = ["LAYOUTS", "PACKED", "Case", "Layout", "as_laid_out"]
