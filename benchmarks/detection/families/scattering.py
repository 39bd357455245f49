"""Writes by index: scatter, scatter_add, index_put with accumulation, updates of a key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]


def _routed(batch: int) -> tuple[Tensor, Tensor]:
    """Weights and experts that a router of eight gives to a batch's tokens, two each."""
    scores = recorded("normed", batch, 5).reshape(-1, 384) @ weight("router")
    best, chosen = torch.softmax(scores * 0.1, -1).topk(2)
    return best, chosen


def _routing() -> list[tuple[Tensor, int, Tensor, Tensor]]:
    """A router's weights spread over all experts."""
    return [(torch.zeros(len(best), 8), 1, chosen, best) for best, chosen in map(_routed, BATCHES)]


def _load() -> list[tuple[Tensor, int, Tensor, Tensor]]:
    """How much weight each expert gets: many tokens go to the same one."""
    return [(torch.zeros(8), 0, chosen.reshape(-1), best.reshape(-1)) for best, chosen in map(_routed, BATCHES)]


def _gradients() -> list[tuple[Tensor, list[Tensor], Tensor, bool]]:
    """Rows added into a table at a batch's ids, as the backward pass of an embedding does."""
    calls = []
    for batch in BATCHES:
        used, ids = torch.unique(recorded("ids", batch).reshape(-1), return_inverse=True)
        rows = recorded("normed", batch, 1).reshape(-1, 384)[:, : 56 + 8 * batch]
        calls.append((weight("embedding")[used, : rows.shape[1]], [ids], rows, True))
    return calls


def _steps() -> list[tuple[Tensor, Tensor, int, int]]:
    """One new token written into the cache of keys."""
    return [(recorded("k", n, 5), recorded("k", n, 1)[:, :, 3], 2, position) for n, position in enumerate((9, 20, 11))]


def _prefill() -> list[tuple[Tensor, list[Tensor | None], Tensor]]:
    """Several new tokens written at their positions."""
    return [
        (recorded("v", n, 5), [None, None, torch.arange(start, start + count)], recorded("v", n, 1)[:, :, :count])
        for n, (start, count) in enumerate(((4, 5), (15, 7), (11, 3)))
    ]


SUBJECTS = (
    Subject("scatter", "indexing", "aten.scatter.src", _routing, moves=True),
    Subject("scatter_add", "indexing", "aten.scatter_add.default", _load),
    Subject("index_put accumulate", "indexing", "aten.index_put.default", _gradients),
    Subject("cache step", "indexing", "aten.select_scatter.default", _steps, moves=True),
    Subject("cache prefill", "indexing", "aten.index_put.default", _prefill, moves=True),
)


def scatter(x: Array, dim: int, index: Array, src: Array, *, blank: bool = False, pitch: bool = True) -> Array:
    """One update after the other; `blank` starts from zeros, without `pitch` updates are read packed like indices."""
    out = np.zeros_like(x) if blank else x.copy()
    updates = src[: index.shape[0], : index.shape[1]] if pitch else src.reshape(-1)[: index.size].reshape(index.shape)
    for row, places in enumerate(index):
        for column, place in enumerate(places):
            out[row, place] = updates[row, column]
    return out


def scatter_add(x: Array, dim: int, index: Array, src: Array, *, group: int = 1, blank: bool = False) -> Array:
    """Added in groups of lanes that read together and then write together; a group of 1 is an atomic addition."""
    total = np.zeros(x.shape, np.float32) if blank else x.astype(np.float32)
    src = src[: len(index)]  # torch allows more updates than indices
    for start in range(0, len(index), group):
        lanes = index[start : start + group]
        total[lanes] = total[lanes] + src[start : start + group].astype(np.float32)
    return total.astype(x.dtype)


def accumulate(
    x: Tensor, indices: list[Tensor], rows: Tensor, add: bool, *, lose: str = "", wrap: bool = True
) -> Tensor:
    """Rows added in float32, in order."""
    (index,) = indices
    total = x.float().clone()
    at = torch.where(index < 0, index + x.shape[0], index) if wrap else index
    seen: set[int] = set()
    for place, row in zip(at.tolist(), rows.expand(len(index), x.shape[1]).float(), strict=True):
        if place < 0 or (lose == "later" and place in seen):
            continue
        total[place] = x[place].float() + row if lose == "earlier" else total[place] + row
        seen.add(place)
    return total.to(x.dtype)


def step(cache: Tensor, token: Tensor, dim: int, position: int, *, copy: bool = True, past: str = "kept") -> Tensor:
    """Writes a token's heads at `position` of a copy of the cache."""
    out = cache.clone() if copy else cache
    out[:, :, position] = token
    if past == "cleared":
        out[:, :, position + 1 :] = 0
    return out


def step_heads_last(cache: Tensor, token: Tensor, dim: int, position: int) -> Tensor:
    """Takes a token that is laid out [head, batch, width] for one [batch, head, width]."""
    return step(cache, token.reshape(token.shape[1], token.shape[0], -1).transpose(0, 1), dim, position)


def prefill(
    cache: Tensor, indices: list[Tensor | None], new: Tensor, *, batches: int | None = None, contiguous: bool = False
) -> Tensor:
    """Token by token; `contiguous` trusts that positions follow one another from the first."""
    position = indices[2]
    assert position is not None
    out, length = cache.clone(), cache.shape[2]
    tokens = new.expand(*cache.shape[:2], len(position), cache.shape[3])
    for number, place in enumerate(position.tolist()):
        if contiguous:
            place = min(int(position[0]) % length + number, length - 1)
        out[:batches, :, place] = tokens[:batches, :, number]
    return out


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


FAULTS = (
    Fault(
        "scatter starts from zeros", "scatter", _with(scatter, blank=True), scatter,
        origin="scatter lowered for its usual first argument, zeros", reveals="activations", written="numpy",
        arrays="numpy",
    ),
    Fault(
        "scatter reads updates with the index's pitch", "scatter", _with(scatter, pitch=False), scatter,
        origin="torch allows more updates than indices in a row; most kernels were never given them",
        reveals="shapes", written="numpy", arrays="numpy",
    ),
    Fault(
        "scatter_add loses all duplicates", "scatter_add", _with(scatter_add, group=1 << 20), scatter_add,
        origin="https://github.com/openvinotoolkit/openvino/pull/29154", reveals="structure", written="numpy",
        arrays="numpy",
    ),
    Fault(
        "scatter_add loses duplicates of neighbours", "scatter_add", _with(scatter_add, group=2), scatter_add,
        origin="https://github.com/deeplearning4j/nd4j/issues/2153", reveals="structure", written="numpy",
        arrays="numpy",
    ),
    Fault(
        "scatter_add starts from zeros", "scatter_add", _with(scatter_add, blank=True), scatter_add,
        origin="scatter_add lowered for its usual first argument, zeros", reveals="activations", written="numpy",
        arrays="numpy",
    ),
    Fault(
        "index_put accumulate keeps the last", "index_put accumulate", _with(accumulate, lose="earlier"), accumulate,
        origin="https://github.com/torch-spyre/torch-spyre/issues/4411", reveals="structure",
    ),
    Fault(
        "index_put accumulate keeps the first", "index_put accumulate", _with(accumulate, lose="later"), accumulate,
        origin="https://github.com/pymc-devs/pytensor/pull/2242", reveals="structure",
    ),
    Fault(
        "index_put drops negative indices", "index_put accumulate", _with(accumulate, wrap=False), accumulate,
        origin="a bounds check before the wrap: negative indices count as masked", reveals="structure",
    ),
    Fault(
        "cache step in place", "cache step", _with(step, copy=False), step,
        origin="https://github.com/Tencent/ncnn/pull/6801",
    ),
    Fault(
        "cache step clears later positions", "cache step", _with(step, past="cleared"), step,
        origin="a cache cut at the new token, though a ring or a shared prefix keeps what follows",
    ),
    Fault(
        "cache step with heads and batch exchanged", "cache step", step_heads_last, step,
        origin="[head, batch, width] reshaped instead of transposed: right for a batch of one", reveals="activations",
    ),
    Fault(
        "cache prefill of batch 0 only", "cache prefill", _with(prefill, batches=1), prefill,
        origin="a cache update tried with a batch of one", reveals="activations",
    ),
    Fault(
        "cache prefill trusts consecutive positions", "cache prefill", _with(prefill, contiguous=True), prefill,
        origin="one block copy from the first position", reveals="structure",
    ),
)  # fmt: skip


def scatter_add_reversed(x: Array, dim: int, index: Array, src: Array) -> Array:
    total = x.astype(np.float32)
    np.add.at(total, index[::-1], src[: len(index)][::-1].astype(np.float32))
    return total.astype(x.dtype)


def scatter_add_sorted(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """By sorting: each target sums its own run of updates, then adds what was there."""
    order = index.argsort(stable=True)
    updates, counts = src[: len(index)][order].float(), torch.bincount(index, minlength=len(x)).tolist()
    sums = [run.sum() if len(run) else run.new_zeros(()) for run in torch.split(updates, counts)] if counts else []
    return (x.float() + torch.stack(sums)).to(x.dtype) if sums else x.clone()


def accumulate_pairwise(x: Tensor, indices: list[Tensor], rows: Tensor, add: bool) -> Tensor:
    """Each target gathers its rows and sums them in torch's own order."""
    (index,) = indices
    at = torch.where(index < 0, index + x.shape[0], index)
    rows = rows.expand(len(index), x.shape[1])
    sums = [torch.cat([x[place][None], rows[at == place]]).float().sum(0) for place in range(x.shape[0])]
    return torch.stack(sums).to(x.dtype) if sums else x.clone()


def scatter_parallel(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Row by row through a mask of targets; of several updates of one element the last wins."""
    out = x.clone()
    for column in range(index.shape[1]):
        hit = torch.arange(x.shape[1]) == index[:, column, None]
        out[: len(index)] = torch.where(hit, src[: len(index), column, None], out[: len(index)])
    return out


def prefill_by_gather(cache: Tensor, indices: list[Tensor | None], new: Tensor) -> Tensor:
    """Every position of the cache asks which new token is its own, the last that claims it."""
    position = indices[2]
    assert position is not None
    length = cache.shape[2]
    source = torch.full((length,), -1)
    for number, place in enumerate(position.tolist()):
        source[place] = number
    tokens = new.expand(*cache.shape[:2], len(position), cache.shape[3])
    if not len(position):
        return cache.clone()
    return torch.where((source >= 0)[:, None], tokens[:, :, source.clamp_min(0)], cache)


def scatter_first(x: Array, dim: int, index: Array, src: Array) -> Array:
    """Of several updates of one element the first wins: torch promises only that it is one of them."""
    return scatter(x, dim, index[:, ::-1], src[: index.shape[0], : index.shape[1]][:, ::-1])


HALVES = ("", "float16", "bfloat16")
CONTROLS = (
    Control("scatter_add reversed", "scatter_add", scatter_add_reversed, arrays="numpy"),
    Control("scatter_add sorted", "scatter_add", scatter_add_sorted, dtypes=HALVES),
    Control("index_put accumulate by target", "index_put accumulate", accumulate_pairwise, dtypes=HALVES),
    Control("scatter keeping the first", "scatter", scatter_first, arrays="numpy"),
    Control("scatter through masks", "scatter", scatter_parallel, dtypes=HALVES),
    Control("cache prefill by gather", "cache prefill", prefill_by_gather, dtypes=HALVES),
)
