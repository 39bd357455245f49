"""Sums and means over the last axis, and the orders in which they are added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.model import Control, Fault, Subject

ALL = ("", "float16", "bfloat16")
HALF = ("float16",)


def _residuals() -> list[tuple[Tensor, list[int], bool]]:
    """Residual streams, each cut to another number of tokens; one channel of them stands out."""
    rows = [r.flatten(0, 1) for r in every("residual")]
    return [(r[: 11 + number], [-1], False) for number, r in enumerate(rows)]


SUBJECTS = (
    Subject("sum", "reductions", "aten.sum.dim_IntList", _residuals),
    Subject("mean", "reductions", "aten.mean.dim", _residuals),
)

Adder = Callable[[Tensor], Tensor]


def in_blocks(rows: Tensor, block: int, fill: float = 0.0) -> Tensor:
    """[..., n] as [..., blocks, block], the last block filled up."""
    whole = F.pad(rows, (0, -rows.shape[-1] % block), value=fill)
    return whole.reshape(*whole.shape[:-1], whole.shape[-1] // block, block)


def in_torch(rows: Tensor) -> Tensor:
    return rows.sum(-1)


def pairwise(rows: Tensor, *, odd: bool = True) -> Tensor:
    """A tree: neighbours are added until one is left. Without `odd` the last of an odd number is lost."""
    if not rows.shape[-1]:
        return rows.sum(-1)
    while (width := rows.shape[-1]) > 1:
        rows = F.pad(rows, (0, width % 2)) if odd else rows[..., : width - width % 2]
        rows = rows[..., ::2] + rows[..., 1::2]
    return rows[..., 0].clone()


def sequential(rows: Tensor) -> Tensor:
    """One after the other in float32 (torch's own `cumsum` is wider)."""
    if not rows.shape[-1]:
        return rows.sum(-1)
    return torch.from_numpy(np.cumsum(rows.numpy(), axis=-1, dtype=np.float32)[..., -1].copy())


def backward(rows: Tensor) -> Tensor:
    return sequential(rows.flip(-1))


def compensated(rows: Tensor, *, count: int = 16) -> Tensor:
    """Kahan's in `count` lanes: what an addition rounds off enters the next. An infinite sum rounds off nothing."""
    total = torch.zeros((*rows.shape[:-1], count))
    lost = torch.zeros_like(total)
    for terms in in_blocks(rows, count).unbind(-2):
        mended = terms - lost
        new = total + mended
        lost = torch.where(new.isfinite(), (new - total) - mended, 0.0)
        total = new
    return pairwise(total - lost)


def lanes(rows: Tensor, *, count: int, wide: torch.dtype = torch.float32) -> Tensor:
    """Each of `count` lanes adds every `count`-th term in `wide`, then a tree adds the lanes."""
    total = rows.new_zeros((*rows.shape[:-1], count), dtype=wide)
    for part in in_blocks(rows, count).unbind(-2):
        total = total + part.to(wide)
    return pairwise(total).float()


Kept = Callable[[int, int], int]


def all_terms(width: int, block: int) -> int:
    return width


def blocked(rows: Tensor, *, block: int, kept: Kept = all_terms, taken: int | None = None) -> Tensor:
    """Each block alone, then the blocks: `kept` terms in all, of each block the first `taken`."""
    rows = rows[..., : kept(rows.shape[-1], block)]
    return in_blocks(rows, block)[..., : taken or block].sum(-1).sum(-1)


def split(rows: Tensor, *, count: int = 3) -> Tensor:
    """`count` parts of nearly equal length, the last one first."""
    total = torch.zeros(rows.shape[:-1])
    for part in reversed(rows.tensor_split(count, dim=-1)):
        total = total + part.sum(-1)
    return total


def sum_by(add: Adder) -> Callable[[Tensor, Sequence[int], bool], Tensor]:
    """`sum(x, [-1], keepdim)` by an order of additions, in float32 inside."""

    def total(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
        result = add(x.float()).to(x.dtype)
        return result[..., None] if keepdim else result

    return total


Divide = Callable[[Tensor, int], Tensor]


def mean_by(add: Adder, divide: Divide = torch.div) -> Callable[[Tensor, Sequence[int], bool], Tensor]:
    """`mean(x, [-1], keepdim)`: the sum by `add`, divided by the width."""

    def mean(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
        result = divide(add(x.float()), x.shape[-1]).to(x.dtype)
        return result[..., None] if keepdim else result

    return mean


def scaled_first(x: Tensor, dim: Sequence[int], keepdim: bool, *, wide: torch.dtype = torch.float32) -> Tensor:
    """Terms multiplied by 1/n before they are added, which cannot overflow; the products in `wide`.

    For float16 alone: in float32 the products of subnormal numbers underflow.
    """
    if not x.shape[-1]:
        return x.mean(-1, keepdim)
    terms = (x.to(wide) * torch.tensor(1.0 / x.shape[-1], dtype=wide)).float()
    return terms.sum(-1, keepdim).to(x.dtype)


def mean_of_means(x: Tensor, dim: Sequence[int], keepdim: bool, *, weighted: bool = True) -> Tensor:
    """Of blocks of 128, each `weighted` by its length."""
    width = x.shape[-1]
    if not width:
        return x.mean(-1, keepdim)
    parts = torch.split(x.float(), 128, dim=-1)
    means = torch.stack([part.mean(-1) for part in parts], -1)
    share = torch.tensor([part.shape[-1] / width if weighted else 1 / len(parts) for part in parts])
    return (means * share).sum(-1, keepdim).to(x.dtype)


def _whole_blocks(width: int, block: int) -> int:
    return width // block * block


def _beyond_one(width: int, block: int) -> int:
    return max(-(-(width - 1) // block), 1) * block


def _fault(name: str, faulty: Adder, correct: Adder, origin: str, **about: object) -> Fault:
    shapes = {"reveals": "shapes", "dtypes": ALL, **about}
    return Fault(name, "sum", sum_by(faulty), sum_by(correct), origin=origin, **shapes)  # type: ignore[arg-type]


FAULTS = (
    _fault(
        "sum without first", lambda rows: rows[..., 1:].sum(-1), in_torch,
        "the accumulator is meant to start from the first element, and starts from 0", reveals="anything",
    ),
    _fault(
        "sum without last", lambda rows: rows[..., :-1].sum(-1), in_torch,
        "a loop to n - 1, exclusive", reveals="anything",
    ),
    _fault(
        "sum by tree loses odd", partial(pairwise, odd=False), pairwise,
        "https://github.com/AdaptiveCpp/AdaptiveCpp/issues/1789", reveals="anything",
    ),
    _fault(
        "sum without partial block of 128", partial(blocked, block=128, kept=_whole_blocks),
        partial(blocked, block=128), "width / block blocks, rounded down",
    ),
    _fault(
        "sum without last block of one of 128", partial(blocked, block=128, kept=_beyond_one),
        partial(blocked, block=128), "blocks are counted as (width - 1) / block rounded up",
    ),
    _fault(
        "sum without last block of one of 1024", partial(blocked, block=1024, kept=_beyond_one),
        partial(blocked, block=1024), "blocks are counted as (width - 1) / block rounded up",
    ),
    _fault(
        "sum of 1023 in blocks of 1024", partial(blocked, block=1024, taken=1023), partial(blocked, block=1024),
        "the last thread of a work-group leaves before it adds its element",
    ),
    _fault(
        "sum of 512 terms", lambda rows: rows[..., :512].sum(-1), in_torch,
        "one load a thread, a work-group of 512",
    ),
    _fault(
        "sum in float16", partial(lanes, count=32, wide=torch.float16), partial(lanes, count=32),
        "https://github.com/pytorch/pytorch/issues/2391", reveals="anything", dtypes=HALF,
    ),
    _fault(
        "sum in bfloat16", partial(lanes, count=32, wide=torch.bfloat16), partial(lanes, count=32),
        "https://github.com/ml-explore/mlx/pull/3909", reveals="anything", dtypes=("bfloat16",),
    ),
    _fault(
        "sum stored in float16 between two passes",
        lambda rows: torch.stack([p.sum(-1) for p in torch.split(rows, 256, dim=-1)], -1).half().float().sum(-1),
        partial(blocked, block=256), "block sums pass through a buffer of the data's dtype", reveals="activations",
        dtypes=HALF,
    ),
    Fault(
        "mean scaled first in float16", "mean", partial(scaled_first, wide=torch.float16), scaled_first,
        origin="x * (1/n) in half precision, so that the sum does not overflow", reveals="activations", dtypes=HALF,
    ),
    Fault(
        "mean of a sum in float16", "mean", mean_by(lambda rows: rows.sum(-1).half().float()), mean_by(in_torch),
        origin="https://github.com/tracel-ai/burn/pull/4769", reveals="activations", dtypes=HALF,
    ),
    Fault(
        "mean over padded width", "mean",
        mean_by(in_torch, lambda total, width: total / (-(-width // 32) * 32)), mean_by(in_torch),
        origin="https://github.com/tenstorrent/tt-metal/pull/42801", reveals="shapes", dtypes=ALL,
    ),
    Fault(
        "mean of means of unequal blocks", "mean", partial(mean_of_means, weighted=False), mean_of_means,
        origin="the mean of block means, with a last block that is shorter", reveals="shapes", dtypes=ALL,
    ),
    Fault(
        "mean over width rounded up", "mean",
        mean_by(in_torch, lambda total, n: total / (1 << (n - 1).bit_length() if n else 0)), mean_by(in_torch),
        origin="the width is rounded up to a power of two, as the kernel's lanes are",
    ),
)  # fmt: skip

_ORDERS: dict[str, Adder] = {
    "blocked": partial(blocked, block=64), "pairwise": pairwise, "sequential": sequential, "backward": backward,
    "compensated": compensated, "split": split, "lanes": partial(lanes, count=64),
}  # fmt: skip

CONTROLS = (
    *(Control(f"sum {name}", "sum", sum_by(add), dtypes=ALL) for name, add in _ORDERS.items()),
    Control("mean sequential", "mean", mean_by(sequential), dtypes=ALL),
    Control(
        "mean by reciprocal",
        "mean",
        mean_by(pairwise, lambda total, n: total * (1 / n) if n else total / n),
        dtypes=ALL,
    ),
    Control("mean scaled first", "mean", scaled_first, dtypes=HALF),
    Control("mean of means", "mean", mean_of_means, dtypes=ALL),
)
