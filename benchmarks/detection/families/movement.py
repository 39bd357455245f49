"""Rearranging: concatenation, stacking, slices, permutations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]
HALVES = ("", "float16", "bfloat16")


def _fragments() -> list[tuple[list[Tensor], int]]:
    """Hidden states of three chunks of a prompt, of unequal lengths."""
    calls = []
    for batch, (one, two) in zip(BATCHES, ((3, 7), (10, 15), (6, 8)), strict=True):
        states = recorded("normed", batch, 1)[..., : 96 + 8 * batch]
        calls.append(([states[:, :one], states[:, one:two], states[:, two:]], 1))
    return calls


def _windows() -> list[tuple[Tensor, int, int, int, int]]:
    """Every second of the last 11 positions."""
    return [(states[..., :100], 1, -11, 2**63 - 1, 2) for states in every("residual")[::2]]


def _heads() -> list[tuple[Tensor, list[int]]]:
    """[batch, head, position, width] to [position, batch, head, width], as sequence-first layers take it."""
    return [(q, [2, 0, 1, 3]) for q in every("q")[::2]]


def _weights() -> list[tuple[Tensor, int, int]]:
    """Parts of a weight of whole tiles, wider than high."""
    return [
        (weight("weight", 5)[:rows, :columns][None], -2, -1)
        for rows, columns in ((32, 64), (64, 96), (32, 96), (64, 128))
    ]


def _stacks() -> list[tuple[list[Tensor], int]]:
    """The same hidden states after two layers."""
    return [([recorded("normed", n, layer)[..., : 90 + 8 * n] for layer in LAYERS], 2) for n in BATCHES]


SUBJECTS = (
    Subject("cat", "movement", "aten.cat.default", _fragments, moves=True),
    Subject("slice", "movement", "aten.slice.Tensor", _windows, moves=True),
    Subject("permute", "movement", "aten.permute.default", _heads, moves=True),
    Subject("transpose", "movement", "aten.transpose.int", _weights, moves=True),
    Subject("stack", "movement", "aten.stack.default", _stacks, moves=True),
)


def cat(
    parts: Sequence[Tensor], dim: int = 0, *, place: str = "running", empty: str = "skip", packed: bool = False
) -> Tensor:
    """Copies each part to its offset; `place` says how that is found, `empty` what a part without elements does."""
    sizes = [part.shape[dim] for part in parts]
    shape = list(parts[0].shape)
    shape[dim] = sum(sizes)
    out = parts[0].new_empty(shape)
    for number, part in enumerate(parts):
        if not part.numel() and empty == "stop":
            break
        offset = {
            "running": sum(sizes[:number]),
            "first": number * sizes[0],
            "previous": sizes[number - 1] * (number > 0),
        }[place]
        room = max(min(sizes[number], sum(sizes) - offset), 0)
        source = part.as_strided(part.shape, _pitches(part.shape)) if packed and part.numel() else part
        out.narrow(dim, min(offset, sum(sizes)), room).copy_(source.narrow(dim, 0, room))
    return out


def _pitches(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a packed tensor."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def window(
    x: Tensor, dim: int, start: int, end: int, step: int, *, clamp: bool = True, whole: bool = False, phase: bool = True
) -> Tensor:
    """A strided slice as a kernel sees it: begin and count from the extent, then a copy.

    Without `clamp` a start before the first element wraps; `whole` counts only whole steps; without `phase` steps are
    counted from the first element of the input.
    """
    extent = x.shape[dim]
    begin = start + extent if start < 0 else start
    begin = max(begin, 0) if clamp else begin % max(extent, 1)
    if not phase:
        begin -= begin % step
    span = max(min(end, extent) - begin, 0)
    count = span // step if whole else -(-span // step)
    return x.index_select(dim, begin + step * torch.arange(count))


def permute(x: Tensor, order: list[int], *, inverse: bool = False) -> Tensor:
    """Element by element: which flat element of the packed input goes where."""
    shape = [x.shape[axis] for axis in order]
    pitches = _pitches(x.shape)
    used = [order.index(axis) for axis in range(len(order))] if inverse else order
    at = torch.zeros((), dtype=torch.int64)
    for axis, extent in enumerate(shape):
        at = at[..., None] + torch.arange(extent) * pitches[used[axis]]
    return x.reshape(-1)[at % max(x.numel(), 1)] if at.numel() else x.new_empty(shape)


def transpose(x: Tensor, dim0: int, dim1: int, *, tile: int = 32, edge: str = "both") -> Tensor:
    """By square tiles of the last two axes. `edge` says which partial tiles are there and how far they go."""
    *_, rows, columns = x.shape
    out = x.new_empty(*x.shape[:-2], columns, rows)
    for top in range(0, rows // tile * tile if edge == "whole" else rows, tile):
        for left in range(0, columns, tile):
            bottom = min(top + tile, columns if edge == "swapped" else rows, rows)
            right = min(left + tile, columns)
            block = x[..., top:bottom, left:right]
            if block.numel():
                out[..., left:right, top:bottom] = block.mT
    return out


def stack(parts: Sequence[Tensor], dim: int, *, joined: bool = False) -> Tensor:
    """`joined` concatenates and reshapes, which puts the new axis first among those it joins."""
    shape = [*parts[0].shape[:dim], len(parts), *parts[0].shape[dim:]]
    if joined:
        return torch.cat(list(parts), dim - 1).reshape(shape)
    return torch.cat([part.unsqueeze(dim) for part in parts], dim)


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


FAULTS = (
    Fault(
        "cat at multiples of the first size", "cat", _with(cat, place="first"), cat,
        origin="all inputs taken to be as long as the first",
    ),
    Fault(
        "cat offset from the previous input only", "cat", _with(cat, place="previous"), cat,
        origin="offset assigned, not accumulated: right for two inputs",
    ),
    Fault(
        "cat stops at an empty input", "cat", _with(cat, empty="stop"), cat,
        origin="https://github.com/NervanaSystems/ngraph/pull/1120", reveals="shapes",
    ),
    Fault(
        "cat reads strided inputs as packed", "cat", _with(cat, packed=True), cat,
        origin="https://github.com/ggml-org/ggml/issues/584", reveals="layout",
    ),
    Fault(
        "slice start before the axis wraps", "slice", _with(window, clamp=False), window,
        origin="https://github.com/apache/tvm/issues/20263", reveals="shapes",
    ),
    Fault(
        "slice counts whole steps only", "slice", _with(window, whole=True), window,
        origin="(end - start) / step rounded down",
    ),
    Fault(
        "slice steps from element 0", "slice", _with(window, phase=False), window,
        origin="step applied before start: x[::2][start / 2:]", reveals="shapes",
    ),
    Fault(
        "permute by the inverse order", "permute", _with(permute, inverse=True), permute,
        origin="https://github.com/webonnx/wonnx/issues/112",
    ),
    Fault(
        "transpose without the last rows of tiles", "transpose", _with(transpose, edge="whole"), transpose,
        origin="tile count rounded down along one axis", reveals="shapes",
    ),
    Fault(
        "transpose rows bounded by the columns", "transpose", _with(transpose, edge="swapped"), transpose,
        origin="edge guard of a tiled transpose with the other axis: right when wider than high", reveals="shapes",
    ),
    Fault(
        "stack by reshaping a concatenation", "stack", _with(stack, joined=True), stack,
        origin="stack lowered to concat and reshape without a transpose", reveals="activations",
    ),
)  # fmt: skip


def cat_preallocated(parts: Sequence[Array], dim: int = 0) -> Array:
    ends = list(accumulate(part.shape[dim] for part in parts))
    shape = list(parts[0].shape)
    shape[dim] = ends[-1]
    out = np.empty(shape, parts[0].dtype)
    for end, part in zip(ends, parts, strict=True):
        np.moveaxis(out, dim, 0)[end - part.shape[dim] : end] = np.moveaxis(part, dim, 0)
    return out


def slice_numpy(x: Array, dim: int, start: int, end: int, step: int) -> Array:
    return np.moveaxis(np.moveaxis(x, dim, 0)[start:end:step], 0, dim).copy()


CONTROLS = (
    Control("cat preallocated", "cat", cat_preallocated, arrays="numpy"),
    Control("slice numpy", "slice", slice_numpy, arrays="numpy"),
    Control("permute by flat index", "permute", permute, dtypes=HALVES),
    Control("transpose by tiles", "transpose", transpose, dtypes=HALVES),
)
