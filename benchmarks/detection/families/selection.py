"""Argmax and top-k over the last axis. Which of equal elements is chosen is free. See `sorting.py` for sorts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.detection.activations import every, weight
from benchmarks.detection.model import Control, Fault, Subject

ALL = ("", "float16", "bfloat16")
Pair = tuple[Tensor, Tensor]


def _logits() -> list[tuple[Tensor, int]]:
    """Rows of a tied language head over a part of the vocabulary."""
    return [(logits[:7, : 1023 - 40 * number], -1) for number, logits in enumerate(every("logits"))]


def _sampled() -> list[tuple[Tensor, int, int, bool, bool]]:
    return [(logits[:7, : 1023 - 40 * number], 8, -1, True, True) for number, logits in enumerate(every("logits"))]


def _routed() -> list[tuple[Tensor, int, int, bool, bool]]:
    """Scores of 8 experts, of which each token takes two."""
    return [((n.flatten(0, 1) @ weight("router"))[:40], 2, -1, True, True) for n in every("normed")]


SUBJECTS = (
    Subject("argmax of logits", "selection", "aten.argmax.default", _logits, moves=True),
    Subject("topk", "selection", "aten.topk.default", _sampled, moves=True),
    Subject("topk of experts", "selection", "aten.topk.default", _routed, moves=True),
)


def keys(x: Tensor) -> Tensor:
    """Integers in the order of the numbers, every NaN above them all."""
    bits = x.float().view(torch.int32).to(torch.int64)
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return ordered.masked_fill(x.isnan(), 0x7FFFFFFF)


def ranked(order: Tensor, descending: bool = True) -> Tensor:
    """The indices of a stable sort of the last axis."""
    return torch.sort(order, stable=True, dim=-1, descending=descending).indices


Store = Callable[[Tensor], Tensor]


def as_it_is(index: Tensor) -> Tensor:
    return index


def argmax(x: Tensor, dim: int, *, last: bool = False, seen: int | None = None, store: Store = as_it_is) -> Tensor:
    """The first of the largest, or the `last`, among the first `seen`, as `store` keeps the index."""
    order = keys(x)[..., :seen]
    index = order.shape[-1] - 1 - order.flip(-1).argmax(dim) if last else order.argmax(dim)
    return store(index).to(torch.int64)


def blockwise_argmax(x: Tensor, dim: int, *, block: int, based: bool = True) -> Tensor:
    """Of each block, then among the blocks; `based` adds where the winning block begins."""
    parts = torch.split(keys(x), block, dim=-1)
    tops = torch.stack([part.amax(-1) for part in parts], -1)
    places = torch.stack([part.argmax(-1) + number * block * based for number, part in enumerate(parts)], -1)
    return places.gather(-1, tops.argmax(-1, keepdim=True)).squeeze(-1)


def argmax_above(x: Tensor, dim: int, *, unset: int = 0) -> Tensor:
    """An element above -inf takes the place of the index `unset`, and so does a NaN."""
    top, index = keys(x).max(dim)
    return index.masked_fill(top == keys(torch.tensor(-math.inf)), unset)


def argmax_in_dtype_of_data(x: Tensor, dim: int) -> Tensor:
    return argmax(x, dim, store=lambda index: index.to(x.dtype))


def topk(
    x: Tensor, k: int, dim: int, largest: bool, in_order: bool,
    *,
    seen: Callable[[int], int] = int,
    shuffled: bool = False,
    key: Callable[[Tensor], Tensor] = keys,
) -> Pair:  # fmt: skip
    """By the order of `key` among the first `seen`; `shuffled` leaves the chosen in the order of the data."""
    order = key(x)[..., : max(seen(x.shape[-1]), k)]
    index = ranked(order)[..., :k]
    if shuffled:
        index = index.sort(-1).values
    return x.gather(-1, index), index


def looked_up(x: Tensor, k: int, dim: int, largest: bool, in_order: bool, *, distinct: bool = True) -> Pair:
    """k times the largest of what is left. Not `distinct`: the values first, then each where it is first found."""
    order, found = keys(x), []
    if not x.numel():
        return topk(x, k, dim, largest, in_order)
    for _ in range(k):
        found.append(order.argmax(-1))
        order = order.scatter(-1, found[-1][..., None], -(2**40))
    index = torch.stack(found, -1) if found else torch.zeros((*x.shape[:-1], 0), dtype=torch.int64)
    if not distinct:
        index = (keys(x)[..., None, :] == keys(x).gather(-1, index)[..., None]).int().argmax(-1)
    return x.gather(-1, index), index


def above_threshold(x: Tensor, k: int, dim: int, largest: bool, in_order: bool, *, ties: bool = True) -> Pair:
    """What is above the k-th largest value, and of what equals it as many as are missing.

    Without `ties` the missing ones stay what the buffer held: index 0.
    """
    if not x.numel() or not k:
        return topk(x, k, dim, largest, in_order)
    order = keys(x)
    threshold = order.kthvalue(x.shape[-1] - k + 1, dim=-1, keepdim=True).values
    rank = 2 * (order > threshold).int() + (order == threshold).int()
    chosen = ranked(rank)[..., :k]
    chosen = chosen.gather(-1, ranked(order.gather(-1, chosen)))
    if not ties:
        chosen = chosen.masked_fill(order.gather(-1, chosen) == threshold, 0)
        last = (order == threshold).int().argmax(-1, keepdim=True)
        short = (order > threshold).sum(-1, keepdim=True)
        chosen = chosen.scatter(-1, short, last)
    return x.gather(-1, chosen), chosen


def of_blocks(
    x: Tensor, k: int, dim: int, largest: bool, in_order: bool, *, block: int, kept: int | None = None
) -> Pair:
    """The `kept` best of each block (k unless told), then the k best of those."""
    parts = torch.split(keys(x), block, dim=-1)
    places = [ranked(part)[..., : max(kept or k, k - x.shape[-1] + block)] + n * block for n, part in enumerate(parts)]
    found = torch.cat(places, -1)
    if found.shape[-1] < k:
        return topk(x, k, dim, largest, in_order)
    index = found.gather(-1, ranked(keys(x).gather(-1, found))[..., :k])
    return x.gather(-1, index), index


def numeric_keys(x: Tensor) -> Tensor:
    """NaN below everything, as comparisons have it."""
    return keys(x).masked_fill(x.isnan(), -(2**40))


def half_keys(x: Tensor) -> Tensor:
    return keys(x.half())


def _argmax(name: str, origin: str, reveals: str, **wrong: object) -> Fault:
    faulty = partial(argmax, **wrong)  # type: ignore[arg-type]
    return Fault(name, "argmax of logits", faulty, argmax, origin=origin, reveals=reveals, dtypes=ALL)  # type: ignore[arg-type]


def _topk(name: str, faulty: Callable[..., Pair], correct: Callable[..., Pair], origin: str, **about: object) -> Fault:
    given = {"subject": "topk", "reveals": "structure", "dtypes": ALL, **about}
    return Fault(name, faulty=faulty, correct=correct, origin=origin, **given)  # type: ignore[arg-type]


FAULTS = (
    Fault(
        "argmax unset in masked rows", "argmax of logits", partial(argmax_above, unset=-1), argmax_above,
        origin="https://github.com/anthonytorlucci/rlevo/issues/1050", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "argmax inside block of 256", "argmax of logits",
        partial(blockwise_argmax, block=256, based=False), partial(blockwise_argmax, block=256),
        origin="the winning block's offset is not added", dtypes=ALL,
    ),
    Fault(
        "argmax inside block of 1024", "argmax of logits",
        partial(blockwise_argmax, block=1024, based=False), partial(blockwise_argmax, block=1024),
        origin="the winning block's offset is not added", reveals="shapes", dtypes=ALL,
    ),
    _argmax("argmax in int8", "an index as narrow as the quantised data", "anything", store=lambda i: i.to(torch.int8)),
    _argmax(
        "argmax in int16", "https://github.com/urvashik/knnlm/issues/6", "shapes",
        store=lambda i: i.to(torch.int16),
    ),
    Fault(
        "argmax in dtype of data", "argmax of logits", argmax_in_dtype_of_data, argmax,
        origin="index and value travel in one vector of the data's dtype", dtypes=("float16", "bfloat16"),
    ),
    _argmax("argmax of 1024", "one element a thread, a work-group of at most 1024", "shapes", seen=1024),
    _topk(
        "topk unsorted", partial(topk, shuffled=True), topk, "https://github.com/xiexi51/RTopK/issues/2",
        reveals="anything",
    ),
    _topk(
        "topk duplicates ties", partial(looked_up, distinct=False), looked_up,
        "https://github.com/tenstorrent/tt-metal/pull/55069",
    ),
    _topk(
        "topk of experts duplicates ties", partial(looked_up, distinct=False), looked_up,
        "https://github.com/tenstorrent/tt-metal/pull/55069", subject="topk of experts",
    ),
    _topk(
        "topk without ties at threshold", partial(above_threshold, ties=False), above_threshold,
        "https://github.com/sony/nnabla-ext-cuda/pull/473",
    ),
    _topk(
        "topk without last element", partial(topk, seen=lambda width: width - 1), topk, "a loop to n - 1, exclusive",
    ),
    _topk(
        "topk of experts without last", partial(topk, seen=lambda width: width - 1), topk,
        "a loop to n - 1, exclusive", subject="topk of experts", reveals="anything",
    ),
    _topk(
        "topk keeps 4 of a block of 256", partial(of_blocks, block=256, kept=4), partial(of_blocks, block=256),
        "candidates of a block are kept in fewer registers than k", reveals="activations",
    ),
    _topk(
        "topk takes NaN for least", partial(topk, key=numeric_keys), topk,
        "comparisons alone, which a NaN always loses", reveals="specials",
    ),
    _topk(
        "topk compares in float16", partial(topk, key=half_keys), topk,
        "keys are rounded to float16 before they are compared", reveals="activations", dtypes=("",),
    ),
)  # fmt: skip

CONTROLS = (
    Control("argmax last of equals", "argmax of logits", partial(argmax, last=True), dtypes=ALL),
    Control("argmax of blocks", "argmax of logits", partial(blockwise_argmax, block=64), dtypes=ALL),
    Control("topk of blocks", "topk", partial(of_blocks, block=128), dtypes=ALL),
    Control("topk above threshold", "topk of experts", above_threshold, dtypes=ALL),
)
