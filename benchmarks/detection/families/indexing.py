"""Reads by index: embedding, gather, index_select, advanced indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]


def _lookups() -> list[tuple[Tensor, Tensor, int]]:
    """A batch's tokens in a table of the rows that it uses; [PAD] is row 0 wherever a batch has it."""
    calls = []
    for batch in BATCHES:
        used, ids = torch.unique(recorded("ids", batch), return_inverse=True)
        calls.append((weight("embedding")[used], ids, 0))
    return calls


def _vocabulary() -> list[tuple[Tensor, Tensor]]:
    """The same in the whole table, whose elements no sixteen bits can count."""
    return [(weight("embedding")[: 1023 - 40 * batch], recorded("ids", batch).reshape(-1)) for batch in BATCHES]


def _experts() -> list[tuple[Tensor, int, Tensor]]:
    """Scores of the best tokens of a part of the head."""
    return [
        (logits, 1, logits.topk(k, dim=1).indices)
        for logits, k in ((recorded("logits", n)[: 6 + n, : 200 + 50 * n], 5 + n) for n in BATCHES)
    ]


def _rows() -> list[tuple[Tensor, list[Tensor]]]:
    """Hidden states of a batch's real tokens, chosen from the flattened batch."""
    calls = []
    for batch in BATCHES:
        mask = recorded("mask", batch).reshape(-1)
        hidden = recorded("normed", batch, 5).reshape(-1, 384)[:, : 120 + 8 * batch]
        calls.append((hidden, [mask.nonzero()[:, 0]]))
    return calls


def _unpadded() -> list[tuple[Tensor, list[Tensor]]]:
    """The same by batch and position, as variable-length attention packs them."""
    calls = []
    for batch in BATCHES:
        mask = recorded("mask", batch)
        row, position = mask.nonzero().unbind(1)
        calls.append((recorded("normed", batch, 1)[..., : 120 + 8 * batch], [row, position]))
    return calls


def _heads() -> list[tuple[Tensor, int, Tensor]]:
    """Heads left after pruning."""
    return [(recorded("q", n, 1), 1, torch.tensor(kept)) for n, kept in enumerate(([0, 3], [2, 1, 3], [1]))]


SUBJECTS = (
    Subject("embedding", "indexing", "aten.embedding.default", _lookups, moves=True),
    Subject("embedding vocabulary", "indexing", "aten.embedding.default", _vocabulary, moves=True),
    Subject("gather", "indexing", "aten.gather.default", _experts, moves=True),
    Subject("index rows", "indexing", "aten.index.Tensor", _rows, moves=True),
    Subject("index pairs", "indexing", "aten.index.Tensor", _unpadded, moves=True),
    Subject("index_select", "indexing", "aten.index_select.default", _heads, moves=True),
)


def embedding(
    table: Tensor,
    ids: Tensor,
    padding: int = -1,
    *,
    past: int = 1,
    blank: bool = False,
    index: torch.dtype = torch.int64,
) -> Tensor:
    """Rows by id. `past` bounds ids from above; `blank` zeroes the padding row; ids pass through dtype `index`."""
    rows = ids.to(index).long().clamp(0, max(table.shape[0] - past, 0))
    found = table[rows]
    return found.masked_fill((ids == padding)[..., None], 0.0) if blank else found


def embedding_flat(table: Tensor, ids: Tensor, *, offset: torch.dtype = torch.int64) -> Tensor:
    """Element by element from the packed table, offsets held in dtype `offset`."""
    count, width = table.shape
    if not ids.numel() or not width:
        return table.new_empty(*ids.shape, width)
    at = (ids[..., None] * width + torch.arange(width)).to(offset).long()
    return table.reshape(-1)[at % (count * width)]


def gather(x: Tensor, dim: int, index: Tensor, *, row_of: str = "own") -> Tensor:
    """From the packed input by flat offset; `row_of` says how a row's start is found."""
    width = {"own": x.shape[1], "index": index.shape[1], "first": 0}[row_of]
    at = torch.arange(index.shape[0])[:, None] * width + index
    return x.reshape(-1)[at] if at.numel() else x.new_empty(index.shape)


def gather_other_axis(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Takes the index for a row number; what is out of range is clamped, as samplers do."""
    columns = torch.arange(index.shape[1]).expand_as(index)
    return x[index.clamp(max=x.shape[0] - 1), columns] if index.numel() else x.new_empty(index.shape)


def rows(x: Tensor, indices: list[Tensor], *, negative: str = "wrap") -> Tensor:
    """x[index]; a negative index counts from the end."""
    (index,) = indices
    wrapped = {
        "wrap": index + x.shape[0],
        "clamp": torch.zeros_like(index),
        "rank": (index + x.dim()).clamp(0, max(x.shape[0] - 1, 0)),
        "unsigned": index.abs(),
    }[negative]
    at = torch.where(index < 0, wrapped, index)
    return torch.index_select(x, 0, at.clamp(max=max(x.shape[0] - 1, 0)).reshape(-1)).reshape(
        *index.shape, *x.shape[1:]
    )


def pairs(x: Tensor, indices: list[Tensor], *, wrap_first: bool = True, pitch: str = "length") -> Tensor:
    """x[row, position] as rows of a matrix [batch * length, width]; negative indices wrap before they are joined."""
    row, position = indices
    batch, length, width = x.shape
    if wrap_first:
        row, position = torch.where(row < 0, row + batch, row), torch.where(position < 0, position + length, position)
    at = row * (length if pitch == "length" else batch) + position
    if not at.numel():
        return x.new_empty(*at.shape, width)
    return x.reshape(batch * length, width)[at % (batch * length)]


def heads(x: Array, dim: int, index: Array, *, skip_repeats: bool = False, as_width: int = 64) -> Array:
    """Slice by slice along `dim`; the index passes through an integer of `as_width` bits."""
    out = np.full((*x.shape[:dim], len(index), *x.shape[dim + 1 :]), np.nan, x.dtype)
    narrow = index.astype(f"uint{as_width}").astype(np.int64)
    for place, chosen in enumerate(narrow):
        if skip_repeats and place and chosen == narrow[place - 1]:
            continue
        out[:, place] = x[:, chosen]
    return out


FAULTS = (
    Fault(
        "embedding clamps to the row before the last", "embedding", lambda *a: embedding(*a, past=2), embedding,
        origin="off-by-one in an index clamp: min(id, rows - 2)", reveals="structure",
    ),
    Fault(
        "embedding zeroes the padding row", "embedding", lambda *a: embedding(*a, blank=True), embedding,
        origin="padding_idx taken to zero the output, where torch only stops its gradient", reveals="activations",
        dtypes=("", "float16", "bfloat16"),
    ),
    Fault(
        "embedding index in bfloat16", "embedding vocabulary",
        lambda *a: embedding(*a, index=torch.bfloat16), embedding,
        origin="a blanket cast to bfloat16 takes the ids along: integers above 256 are rounded", reveals="activations",
    ),
    Fault(
        "embedding index in uint8", "embedding", lambda *a: embedding(*a, index=torch.uint8), embedding,
        origin="row numbers packed into bytes for a byte shuffle", reveals="shapes",
    ),
    Fault(
        "embedding offset in uint16", "embedding vocabulary",
        lambda *a: embedding_flat(*a, offset=torch.uint16), embedding_flat,
        origin="https://github.com/triton-lang/triton/issues/832", reveals="activations",
    ),
    Fault(
        "gather reads row 0 of every batch", "gather", lambda *a: gather(*a, row_of="first"), gather,
        origin="https://github.com/tillahoffmann/jax-mps/issues/60",
    ),
    Fault(
        "gather with the index's pitch", "gather", lambda *a: gather(*a, row_of="index"), gather,
        origin="row start computed from the index tensor's width, not the data's",
    ),
    Fault(
        "gather along the other axis", "gather", gather_other_axis, gather,
        origin="GatherElements lowered with axis 0: x[index[i][j]][j]",
    ),
    Fault(
        "negative index clamped to 0", "index rows", lambda *a: rows(*a, negative="clamp"), rows,
        origin="https://github.com/microsoft/onnxruntime/issues/1533", reveals="structure",
    ),
    Fault(
        "negative index counted from the rank", "index rows", lambda *a: rows(*a, negative="rank"), rows,
        origin="https://github.com/openvinotoolkit/openvino/pull/22039", reveals="structure",
    ),
    Fault(
        "negative index loses its sign", "index rows", lambda *a: rows(*a, negative="unsigned"), rows,
        origin="abs() in place of a wrap: x[-1] gives x[1]", reveals="structure",
    ),
    Fault(
        "negative index wrapped after flattening", "index pairs", lambda *a: pairs(*a, wrap_first=False), pairs,
        origin="two indices joined into one before the negative ones are wrapped: the row before is read",
        reveals="structure",
    ),
    Fault(
        "index pairs with the batch as pitch", "index pairs", lambda *a: pairs(*a, pitch="batch"), pairs,
        origin="sizes exchanged in unpadding: row * batch + position",
    ),
    Fault(
        "index_select skips repeated indices", "index_select", lambda *a: heads(*a, skip_repeats=True), heads,
        origin="a run of equal indices coalesced into one copy", reveals="structure", written="numpy", arrays="numpy",
    ),
)  # fmt: skip


def embedding_numpy(table: Array, ids: Array, padding: int = -1) -> Array:
    return np.take(table, ids, axis=0)


def gather_numpy(x: Array, dim: int, index: Array) -> Array:
    """torch allows fewer rows of indices than of data, numpy does not."""
    return np.take_along_axis(x[: len(index)], index, axis=dim)


def select_by_where(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """A chain of selections, as compilers without a gather emit; a one-hot product would turn inf * 0 into NaN."""
    shape = [1] * x.dim()
    shape[dim] = -1
    out = x.new_zeros(*x.shape[:dim], index.numel(), *x.shape[dim + 1 :])
    for number, row in enumerate(x.unbind(dim)):
        out = torch.where((index == number).reshape(shape), row.unsqueeze(dim), out)
    return out


HALVES = ("", "float16", "bfloat16")
CONTROLS = (
    Control("embedding numpy take", "embedding", embedding_numpy, arrays="numpy"),
    Control("embedding flat offsets", "embedding vocabulary", embedding_flat, dtypes=HALVES),
    Control("gather take_along_axis", "gather", gather_numpy, arrays="numpy"),
    Control("index rows by index_select", "index rows", rows, dtypes=HALVES),
    Control("index_select by selections", "index_select", select_by_where, dtypes=HALVES),
)
