"""Variances, maxima, cumulative sums and products over the last axis. See `sums.py` for sums and means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import LOWEST, every, recorded, scores
from benchmarks.detection.families.sums import ALL, HALF, in_blocks
from benchmarks.detection.model import Control, Fault, Subject


def _residuals() -> list[tuple[Tensor, list[int], bool, bool]]:
    rows = [r.flatten(0, 1) for r in every("residual")]
    return [(r[: 11 + number], [-1], True, False) for number, r in enumerate(rows)]


def _scores() -> list[tuple[Tensor, list[int], bool]]:
    return [(scores(batch, layer), [-1], True) for batch in range(3) for layer in (1, 5)]


def _probabilities() -> list[tuple[Tensor, int]]:
    """Token probabilities in descending order, as top-p sampling accumulates them."""
    return [(logits[:6].softmax(-1).sort(-1, descending=True).values, -1) for logits in every("logits")]


def _masks() -> list[tuple[Tensor, int]]:
    """Attention masks, whose cumulative sums are position ids."""
    return [(recorded("mask", batch), -1) for batch in range(3)]


def _transmitted() -> list[tuple[Tensor, int]]:
    """What attention leaves out, key by key: factors between 0 and 1."""
    return [(1.0 - scores(batch, layer).softmax(-1), -1) for batch in range(3) for layer in (1, 5)]


SUBJECTS = (
    Subject("var", "reductions", "aten.var.dim", _residuals),
    Subject("amax", "reductions", "aten.amax.default", _scores, moves=True),
    Subject("cumsum", "reductions", "aten.cumsum.default", _probabilities),
    Subject("cumsum of mask", "reductions", "aten.cumsum.default", _masks),
    Subject("prod", "reductions", "aten.prod.dim_int", _transmitted),
)

Moments = Callable[[Tensor], Tensor]


def two_pass(rows: Tensor) -> Tensor:
    """Sum of squared deviations along the last axis, which is kept."""
    return (rows - rows.mean(-1, keepdim=True)).square().sum(-1, keepdim=True)


def of_squares(rows: Tensor) -> Tensor:
    """n (E[x^2] - E[x]^2), not below zero."""
    mean = rows.mean(-1, keepdim=True)
    return (rows.square().mean(-1, keepdim=True) - mean * mean).clamp_min(0.0) * rows.shape[-1]


def updated(rows: Tensor, *, lanes: int = 32) -> Tensor:
    """Welford's: each lane updates mean and sum of squares term by term; a tree merges the lanes."""
    width = rows.shape[-1]
    terms = in_blocks(rows, lanes).movedim(-2, 0)
    there = torch.arange(terms.shape[0] * lanes).reshape(-1, lanes) < width
    mean, squares, count = (torch.zeros(terms.shape[1:]) for _ in range(3))
    for term, known in zip(terms, there, strict=True):
        count = count + known
        step = torch.where(known, term - mean, 0.0)
        mean = mean + step / count.clamp_min(1.0)
        squares = squares + step * torch.where(known, term - mean, 0.0)
    while lanes > 1:
        lanes //= 2
        (n, m), (mean, other) = torch.split(count, lanes, -1), torch.split(mean, lanes, -1)
        count, distance = n + m, torch.where(m > 0, other - mean, 0.0)
        share = m / count.clamp_min(1.0)
        squares = squares[..., :lanes] + squares[..., lanes:] + distance.square() * (n * share)
        mean = mean + distance * share
    return squares


def merged(rows: Tensor, *, block: int = 64, equal: bool = False, means: bool = True) -> Tensor:
    """Blocks of their own, merged one after the other (Chan, Golub and LeVeque 1983).

    `equal` takes every block for a full one; without `means` the distance of the means is left out.
    """
    count, mean, squares = 0, torch.zeros(rows.shape[:-1]), torch.zeros(rows.shape[:-1])
    for part in torch.split(rows, block, dim=-1):
        size = block if equal else part.shape[-1]
        distance = part.mean(-1) - mean
        squares = squares + two_pass(part)[..., 0]
        if means and count:
            squares = squares + distance.square() * (count * size / (count + size))
        count += size
        mean = mean + distance * (size / count if count else 1.0)
    return squares[..., None]


def var_by(moments: Moments, *, bessel: bool = True) -> Callable[[Tensor, Sequence[int], bool, bool], Tensor]:
    """`var(x, [-1], unbiased, keepdim)`; without `bessel` the flag is ignored."""

    def var(x: Tensor, dim: Sequence[int], unbiased: bool, keepdim: bool) -> Tensor:
        count = x.shape[-1]
        if not count:
            return x.float().sum(-1, keepdim).mul(math.nan).to(x.dtype)
        result = (moments(x.float()) / max(count - bool(unbiased and bessel), 0)).to(x.dtype)
        return result if keepdim else result.squeeze(-1)

    return var


def amax(x: Tensor, dim: Sequence[int], keepdim: bool, *, start: float = -math.inf, pad: float = -math.inf) -> Tensor:
    """In lanes of 32: the maximum starts from `start`, lanes beyond the row hold `pad`."""
    return in_blocks(x, 32, pad).amax(-1).amax(-1, keepdim=keepdim).clamp_min(start)


def numeric_amax(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
    """By comparisons alone, which a NaN always loses: the greatest of the others, where there are any."""
    others = torch.where(x.isnan(), -math.inf, x).amax(-1, keepdim=keepdim)
    return torch.where(x.isnan().all(-1, keepdim=keepdim), math.nan, others).to(x.dtype)


Carry = Callable[[Tensor], Tensor]


def scanned(totals: Tensor) -> Tensor:
    """What each block starts from: the totals of all blocks before."""
    return F.pad(totals.cumsum(-1)[..., :-1], (1, 0))


def cumsum(x: Tensor, dim: int, *, block: int, carry: Carry = scanned) -> Tensor:
    """A scan of each block, then of their totals."""
    if not x.numel():
        return x.cumsum(dim)
    wide = x.float() if x.is_floating_point() else x
    width = x.shape[-1]
    parts = in_blocks(wide, block).cumsum(-1)
    whole = parts + carry(parts[..., -1])[..., None]
    return whole.flatten(-2)[..., :width].to(x.dtype)


def doubling(x: Tensor, dim: int) -> Tensor:
    """Hillis and Steele's scan: distances of 1, 2, 4 and so on."""
    sums, distance = x.float().clone(), 1
    while distance < x.shape[-1]:
        sums = torch.cat([sums[..., :distance], sums[..., distance:] + sums[..., :-distance]], -1)
        distance *= 2
    return sums.to(x.dtype)


def exclusive(x: Tensor, dim: int) -> Tensor:
    if not x.numel():
        return x.cumsum(dim)
    return F.pad(x.float().cumsum(-1)[..., :-1], (1, 0)).to(x.dtype)


def from_the_end(x: Tensor, dim: int) -> Tensor:
    """The total less what is still to come."""
    wide = x.float()
    rest = wide.flip(-1).cumsum(-1).flip(-1)
    return (rest[..., :1] - rest + wide).to(x.dtype)


def prod(x: Tensor, dim: int, *, start: float = 1.0, pad: float = 1.0) -> Tensor:
    """32 lanes, each multiplying every 32nd factor, then the lanes one by one."""
    return (in_blocks(x.float(), 32, pad).prod(-2).prod(-1) * start).to(x.dtype)


def prod_of_logarithms(x: Tensor, dim: int) -> Tensor:
    return x.float().log().sum(-1).exp().to(x.dtype)


def pairwise_prod(x: Tensor, dim: int) -> Tensor:
    rows = x.float()
    if not rows.shape[-1]:
        return rows.prod(-1).to(x.dtype)
    while (width := rows.shape[-1]) > 1:
        rows = F.pad(rows, (0, width % 2), value=1.0)
        rows = rows[..., : (width + 1) // 2] * rows[..., (width + 1) // 2 :]
    return rows[..., 0].clone().to(x.dtype)


def _var(name: str, faulty: Moments, correct: Moments, origin: str, **about: object) -> Fault:
    given = {"dtypes": ALL, **about}
    return Fault(name, "var", var_by(faulty), var_by(correct), origin=origin, **given)  # type: ignore[arg-type]


def _amax(
    name: str, origin: str, dtypes: tuple[str, ...] = ALL, start: float = -math.inf, pad: float = -math.inf
) -> Fault:
    return Fault(
        name, "amax", partial(amax, start=start, pad=pad), amax, origin=origin, reveals="structure", dtypes=dtypes
    )


def _cumsum(name: str, block: int, carry: Carry, origin: str, **about: object) -> Fault:
    given = {"subject": "cumsum", "reveals": "shapes", "dtypes": ALL, **about}
    faulty, correct = partial(cumsum, block=block, carry=carry), partial(cumsum, block=block)
    return Fault(name, faulty=faulty, correct=correct, origin=origin, **given)  # type: ignore[arg-type]


FAULTS = (
    _var(
        "var of squares", of_squares, two_pass,
        "https://github.com/tenstorrent/tt-metal/issues/45968", reveals="activations",
    ),
    _var(
        "var merges blocks of 128 as equal", partial(merged, block=128, equal=True), partial(merged, block=128),
        "a merge of Welford's that takes the last block for a full one", reveals="shapes",
    ),
    _var(
        "var merges without means", partial(merged, means=False), merged,
        "block variances are added, the distance of the block means is not",
    ),
    Fault(
        "var without correction", "var", var_by(two_pass, bessel=False), var_by(two_pass),
        origin="https://github.com/cupy/cupy/pull/693", dtypes=ALL,
    ),
    _amax("amax from zero", "the maximum starts from 0, as a sum does", start=0.0),
    _amax("amax from FLT_MIN", "https://github.com/openvinotoolkit/openvino/pull/5494", ("",), start=2.0**-126),
    _amax("amax from -65504", "the lowest float16 as identity of a float32 reduction", ("",), start=-65504.0),
    _amax("amax from lowest", "-FLT_MAX as identity: a row of -inf gives it back", ("",), start=LOWEST),
    _amax("amax tail lanes zero", "lanes beyond the row load 0, which is above a row of negative numbers", pad=0.0),
    Fault(
        "amax drops NaN", "amax", numeric_amax, amax,
        origin="https://github.com/apache/tvm/issues/19518", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "cumsum exclusive", "cumsum", exclusive, doubling,
        origin="an exclusive scan in place of an inclusive one", dtypes=ALL,
    ),
    Fault(
        "cumsum from the end", "cumsum", from_the_end, doubling,
        origin="a forward scan made of a backward one by subtraction", reveals="activations",
    ),
    _cumsum(
        "cumsum carries one block", 256, lambda totals: F.pad(totals[..., :-1], (1, 0)),
        "each block adds the total of the block before, not the sum of all before", reveals="anything",
    ),
    _cumsum(
        "cumsum carries one block of 512", 512, lambda totals: F.pad(totals[..., :-1], (1, 0)),
        "each block adds the total of the block before, not the sum of all before",
    ),
    _cumsum(
        "cumsum carries late in blocks of 1024", 1024, lambda totals: F.pad(totals.cumsum(-1), (2, 0))[..., :-2],
        "the scan of block totals, exclusive already, is shifted once more",
    ),
    _cumsum(
        "cumsum carries in 32 blocks", 32,
        lambda totals: scanned(totals) * (torch.arange(totals.shape[-1]) < 32),
        "block totals are scanned by one subgroup of 32",
    ),
    _cumsum(
        "cumsum carries in float16", 64, lambda totals: scanned(totals.half().float()),
        "block totals pass through a buffer of the data's dtype", reveals="anything", dtypes=HALF,
    ),
    _cumsum(
        "cumsum of mask carries late", 256, lambda totals: F.pad(totals.cumsum(-1), (2, 0))[..., :-2],
        "the scan of block totals, exclusive already, is shifted once more", subject="cumsum of mask", dtypes=("",),
    ),
    _cumsum(
        "cumsum of mask wraps in int8", 1, lambda totals: scanned(totals).to(torch.int8).to(totals.dtype),
        "the running count has the dtype of a mask", subject="cumsum of mask", dtypes=("",),
    ),
    Fault(
        "prod from zero", "prod", partial(prod, start=0.0), prod,
        origin="the accumulator starts from 0, as a sum's does", dtypes=ALL,
    ),
    Fault(
        "prod tail lanes zero", "prod", partial(prod, pad=0.0), prod,
        origin="lanes beyond the row load 0, a sum's identity", dtypes=ALL,
    ),
    Fault(
        "prod of logarithms", "prod", prod_of_logarithms, pairwise_prod,
        origin="exp(sum(log(x))), which has no sign and loses what the logarithms round", reveals="activations",
        dtypes=ALL,
    ),
)  # fmt: skip

CONTROLS = (
    Control("var updated", "var", var_by(updated), dtypes=ALL),
    Control("var merged", "var", var_by(merged), dtypes=ALL),
    Control("cumsum blocked", "cumsum", partial(cumsum, block=64), dtypes=ALL),
    Control("cumsum by doubling", "cumsum", doubling, dtypes=ALL),
    Control("prod pairwise", "prod", pairwise_prod, dtypes=ALL),
)
