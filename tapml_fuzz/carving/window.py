"""Cutting a recorded call down to a seed without losing what makes it real.

One subset of indices is chosen per *named axis* and taken from every tensor that carries the axis, so rows of a
weight stay with the channels they multiply. A subset keeps the outlier channels, both sides of a mask's edge,
and otherwise a run of neighbours, since order means something in a sequence. Where a tensor's values point into
another (token ids into an embedding), the rows pointed to are kept and the values renumbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tapml_fuzz.carving import extents
from tapml_fuzz.core.operator import Index, Operator, Product
from tapml_fuzz.core.profile import MASKED_BELOW
from tapml_fuzz.operators.axes import InferredCall

# Of all inputs of one seed (corpus/README.md): 64 KB of float32, and 42 rows of 384 channels.
MAX_ELEMENTS = 16384

# Exact zeros count as hidden positions (what a softmax makes of a mask) once they are more than stray (chosen).
_STRAY_ZEROS = 0.01
# A channel is an outlier from this multiple of the median channel's largest value on; a quarter of the channels kept
# may be outliers (both chosen).
_OUTLIER = 3.0
_OUTLIER_SHARE = 4
# Rows kept of an indexed axis beyond those in use: its first (often padding) and a few neighbours.
_SPARE_ROWS = 4


def cut(call: InferredCall, limit: int = MAX_ELEMENTS) -> InferredCall:
    """The same operator on part of the tensors, at most about `limit` input elements in total.

    Fixed extents stay. Tensors come back packed, on the device they were on; outputs are for the caller to compute.
    """
    operator = call.operator
    target = extents.shrunk(operator, call.sizes, limit)
    pieces = [_Piece.of(tensor, axes, call.sizes) for tensor, axes in zip(call.tensors, operator.axes, strict=True)]
    sizes = dict(call.sizes)
    extents_pointed_into = [index.extent for index in operator.indexes]
    indexed = {e.axes[0] for e in extents_pointed_into if len(e.axes) == 1 and e.constant == 1}
    fixed = {name for e in extents_pointed_into for name in e.axes} - indexed
    order = sorted(operator.axis_names, key=lambda name: -extents.distance(operator, name))
    for name in order:
        if name not in indexed and name not in fixed and target[name] < sizes[name]:
            kept = _choose(pieces, name, sizes[name], target[name], batch=extents.distance(operator, name) >= 2)
            pieces = [piece.take(name, kept) for piece in pieces]
            sizes[name] = len(kept)
    for name in order:
        if name in indexed:
            pieces, sizes = _cut_rows(operator, pieces, sizes, name, target[name])
    tensors = tuple(
        piece.tensor.reshape(shape).contiguous() for piece, shape in zip(pieces, operator.shapes(sizes), strict=True)
    )
    return InferredCall(operator, sizes, tensors)


@dataclass(frozen=True)
class _Piece:
    """A tensor reshaped to one dimension per named axis (None for a constant factor), so that each can be cut."""

    tensor: torch.Tensor
    names: tuple[str | None, ...]

    @classmethod
    def of(cls, tensor: torch.Tensor, axes: tuple[Product, ...], sizes: Mapping[str, int]) -> _Piece:
        names: list[str | None] = []
        shape: list[int] = []
        for product in axes:
            names += product.axes
            shape += [sizes[name] for name in product.axes]
            if product.constant != 1 or not product.axes:
                names.append(None)
                shape.append(product.constant)
        return cls(tensor.detach().reshape(shape), tuple(names))

    def take(self, name: str, kept: torch.Tensor) -> _Piece:
        tensor = self.tensor
        for dimension, own in enumerate(self.names):
            if own == name:
                tensor = tensor.index_select(dimension, kept.to(tensor.device))
        return _Piece(tensor, self.names)

    def along(self, name: str) -> list[torch.Tensor]:
        """The tensor as `[size of the axis, everything else]`, once per dimension that carries the axis."""
        return [
            self.tensor.movedim(dimension, 0).reshape(self.tensor.shape[dimension], -1)
            for dimension, own in enumerate(self.names)
            if own == name
        ]


def _choose(pieces: list[_Piece], name: str, size: int, count: int, *, batch: bool) -> torch.Tensor:
    """`count` indices of an axis of `size`, ascending (int64, on the CPU)."""
    scale, hidden = torch.zeros(size), torch.zeros(size)
    for rows in (rows for piece in pieces for rows in piece.along(name) if rows.numel()):
        scale = torch.maximum(scale, _scale(rows))
        hidden = torch.maximum(hidden, _hidden(rows))
    if batch and bool((hidden != hidden[0]).any()):
        # From the least to the most padded member of the batch.
        ranks = torch.linspace(0, size - 1, count).round().long()
        return hidden.argsort(stable=True)[ranks].sort().values
    outliers = scale.argsort(descending=True, stable=True)[: max(1, count // _OUTLIER_SHARE)]
    outliers = outliers[scale[outliers] > _OUTLIER]
    run = count - len(outliers)
    start = _start_of_run(hidden, run, fallback=int(scale.argmax()))
    kept = dict.fromkeys([*outliers.tolist(), *range(start, size), *range(start - 1, -1, -1)])
    return torch.tensor(sorted(list(kept)[:count]))


def _scale(rows: torch.Tensor) -> torch.Tensor:
    """Largest visible magnitude per index, relative to the median index: float32 `[size]`, zero for integers."""
    if not rows.is_floating_point():
        return torch.zeros(rows.shape[0])
    values = rows.float()
    largest = torch.where(values.isfinite() & (values > MASKED_BELOW), values.abs(), 0.0).amax(1).cpu()
    middle = largest.median()
    return largest / middle if middle > 0 else (largest > 0).float()


def _hidden(rows: torch.Tensor) -> torch.Tensor:
    """Fraction of masked positions per index: float32 `[size]`, zero where the tensor is no mask."""
    if rows.dtype == torch.bool:
        hidden = ~rows
    elif rows.is_floating_point():
        zeros = rows == 0
        hidden = rows <= MASKED_BELOW
        if float(zeros.float().mean()) > _STRAY_ZEROS:
            hidden = hidden | zeros
    else:
        return torch.zeros(rows.shape[0])
    return hidden.float().mean(1).cpu()


def _start_of_run(hidden: torch.Tensor, length: int, fallback: int) -> int:
    """The start of a run that straddles the sharpest edge of a mask, or that holds index `fallback`."""
    size = len(hidden)
    last_start = max(0, size - length)
    steps = hidden.diff().abs()
    if len(steps) == 0 or float(steps.max()) == 0.0:
        return min(last_start, max(0, fallback - length // 2))
    edge = int(steps.argmax()) + 1
    # As many positions before the edge as there are in the whole, but at least one on each side.
    before = min(max(1, round(length * edge / size)), max(1, length - 1))
    return min(last_start, max(0, edge - before))


def _cut_rows(
    operator: Operator, pieces: list[_Piece], sizes: dict[str, int], name: str, count: int
) -> tuple[list[_Piece], dict[str, int]]:
    """Keep at most `count` rows of an axis that other tensors point into, cutting those until that is enough."""
    pointing = [i for i in operator.indexes if i.extent.axes == (name,)]
    size = sizes[name]
    if count >= size:
        return pieces, sizes
    pieces, sizes = list(pieces), dict(sizes)
    for index in pointing:
        while len(_rows_used(pieces, pointing, size)) > max(1, count - _SPARE_ROWS):
            own = [n for n in pieces[index.slot].names if n is not None and n != name and sizes[n] > 1]
            if not own:
                break
            longest = max(own, key=lambda n: sizes[n])
            kept = torch.arange(max(1, sizes[longest] * 3 // 4))
            pieces = [piece.take(longest, kept) for piece in pieces]
            sizes[longest] = len(kept)
    used = _rows_used(pieces, pointing, size)
    spare = [0, *(neighbour for row in used for neighbour in (row + 1, row - 1) if 0 <= neighbour < size)]
    rows = torch.tensor(sorted(list(dict.fromkeys([*used, *spare]))[: max(count, len(used))]))
    slots = {index.slot for index in pointing}
    pieces = [piece if slot in slots else piece.take(name, rows) for slot, piece in enumerate(pieces)]
    for slot in slots:
        ids = pieces[slot].tensor
        positive = torch.searchsorted(rows.to(ids.device), torch.where(ids < 0, ids + size, ids))
        renumbered = torch.where(ids < 0, positive - len(rows), positive).to(ids.dtype)
        pieces[slot] = _Piece(renumbered, pieces[slot].names)
    return pieces, {**sizes, name: len(rows)}


def _rows_used(pieces: list[_Piece], pointing: list[Index], size: int) -> list[int]:
    ids = torch.cat([pieces[index.slot].tensor.reshape(-1).cpu() for index in pointing])
    return sorted(set((torch.where(ids < 0, ids + size, ids)).tolist()))
