"""Softmax over the last axis. See `log_softmax.py` for the logarithmic forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import LAYERS, every, recorded, scores
from benchmarks.detection.families.sums import in_blocks
from benchmarks.detection.model import Control, Fault, Subject

Scores = list[tuple[Tensor, int, bool]]


def _scores() -> Scores:
    """Attention scores as MiniLM masks them: padding is hidden by the lowest number."""
    return [(scores(batch, layer), -1, False) for batch in range(3) for layer in (1, 5)]


def _left_padded() -> Scores:
    """Causal scores of a batch padded on its left, as decoders see them: hidden keys are -inf, a query sees itself."""
    examples: Scores = []
    for batch in range(3):
        for layer in LAYERS:
            q, k = recorded("q", batch, layer), recorded("k", batch, layer)
            shown = recorded("mask", batch).flip(-1).bool()[:, None, None, :]
            size = q.shape[2]
            seen = (shown & torch.ones(size, size, dtype=torch.bool).tril()) | torch.eye(size, dtype=torch.bool)
            raw = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            examples.append((raw.masked_fill(~seen, -math.inf), -1, False))
    return examples


def _logits() -> Scores:
    """Rows of a tied language head over a part of the vocabulary."""
    return [(logits[:6], -1, False) for logits in every("logits")]


SUBJECTS = (
    Subject("softmax", "softmax", "aten._softmax.default", _scores),
    Subject("softmax left-padded", "softmax", "aten._softmax.default", _left_padded),
    Subject("softmax vocabulary", "softmax", "aten._softmax.default", _logits),
)

ALL = ("", "float16", "bfloat16")
LOG2_E = math.log2(math.e)


def softmax(x: Tensor, dim: int, half_to_float: bool, *, small: float = 0.0) -> Tensor:
    """In float32 inside, rounded once at the end. `small` is added to the sum."""
    wide = x.float()
    powers = torch.exp(wide - wide.amax(dim, keepdim=True)) if x.shape[dim] else wide
    return (powers / (powers.sum(dim, keepdim=True) + small)).to(x.dtype)


def floored(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """Zeros where all of a row is masked, as the fused kernel has it, and where it is only very low."""
    wide = x.float()
    powers = torch.exp(wide - wide.amax(dim, keepdim=True).clamp_min(-1e4)) if x.shape[dim] else wide
    return (powers / powers.sum(dim, keepdim=True).clamp_min(1e-6)).to(x.dtype)


def without_maximum(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    powers = torch.exp(x.float())
    return (powers / powers.sum(dim, keepdim=True)).to(x.dtype)


def over_rows(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """Over the axis before: the default of a framework whose channels come first."""
    return softmax(x, dim - 1, half_to_float)


def in_powers_of_two(x: Tensor, dim: int, half_to_float: bool, *, factor: float = LOG2_E) -> Tensor:
    """GPUs have exp2 alone in hardware."""
    wide = x.float()
    if not x.shape[dim]:
        return x.clone()
    powers = torch.exp2((wide - wide.amax(dim, keepdim=True)) * factor)
    return (powers * powers.sum(dim, keepdim=True).reciprocal()).to(x.dtype)


def online(
    x: Tensor, dim: int, half_to_float: bool, *, block: int = 32, rescale: bool = True, guard: bool = True
) -> Tensor:
    """One pass over blocks that rescales the running sum (Milakov and Gimelshein 2018).

    Without `guard` a row that starts with a block of -inf meets -inf - -inf.
    """
    wide = x.float()
    top = wide.new_full(wide.shape[:-1], -math.inf)
    total = torch.zeros_like(top)
    for part in torch.split(wide, block, dim=-1):
        new = torch.maximum(top, part.amax(-1)) if part.shape[-1] else top
        shift = new.masked_fill(new == -math.inf, 0.0) if guard else new
        factor = torch.exp(top - shift) if rescale else 1.0
        total = total * factor + torch.exp(part - shift[..., None]).sum(-1)
        top = new
    return (torch.exp(wide - top[..., None]) / total[..., None]).to(x.dtype)


Lanes = Callable[[Tensor, int], Tensor]


def every_lane(places: Tensor, width: int) -> Tensor:
    return places >= 0


def tiled(
    x: Tensor, dim: int, half_to_float: bool,
    *, block: int, start: float = -math.inf, fill: float = -math.inf, summed: Lanes = every_lane,
) -> Tensor:  # fmt: skip
    """Rows in whole blocks, as the lanes of a kernel see them.

    `start` is what the maximum starts from, `fill` what lanes beyond the row hold, `summed` says which places enter
    the sum, given all places and the row's width.
    """
    width = x.shape[-1]
    if not width:
        return x.clone()
    rows = F.pad(x.float(), (0, -width % block), value=fill)
    top = rows.amax(-1, keepdim=True).clamp_min(start)
    powers = torch.exp(rows - top)
    counted = summed(torch.arange(rows.shape[-1]), width)
    total = in_blocks(torch.where(counted, powers, 0.0), block).sum(-2).sum(-1, keepdim=True)
    return (powers / total)[..., :width].to(x.dtype)


def in_half(x: Tensor, dim: int, half_to_float: bool, *, wide: torch.dtype = torch.float32) -> Tensor:
    """32 lanes add up each row in `wide`."""
    width = x.shape[-1]
    if not width:
        return x.clone()
    powers = torch.exp(x.float() - x.float().amax(-1, keepdim=True))
    total = powers.new_zeros((*powers.shape[:-1], 32), dtype=wide)
    for part in in_blocks(powers, 32).unbind(-2):
        total = total + part.to(wide)
    while total.shape[-1] > 1:
        total = total[..., ::2] + total[..., 1::2]
    return (powers / total.float()).to(x.dtype)


def _remainder_of_last(block: int) -> Lanes:
    """`width % block` lanes of the last block: none when the block is full."""
    return lambda places, width: places < (width - 1) // block * block + width % block


def _beyond_one(block: int) -> Lanes:
    """As many blocks as cover `width - 1` places: a last block of a single element is left out."""
    return lambda places, width: places < max(-(-(width - 1) // block), 1) * block


def _fault(name: str, block: int, origin: str, **wrong: float | Lanes) -> Fault:
    """A fault in `tiled` that only other widths than the recorded ones show."""
    faulty = partial(tiled, block=block, **wrong)  # type: ignore[arg-type]
    return Fault(name, "softmax", faulty, partial(tiled, block=block), origin=origin, reveals="shapes", dtypes=ALL)


FAULTS = (
    Fault(
        "softmax without maximum", "softmax", without_maximum, softmax,
        origin="naive exp(x) / sum(exp(x)) in a first port", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "softmax max from zero", "softmax", partial(tiled, block=32, start=0.0), partial(tiled, block=32),
        origin="the maximum starts from 0, so that rows far below it underflow", reveals="structure",
    ),
    Fault(
        "softmax max from -50000", "softmax", partial(tiled, block=64, start=-5e4), partial(tiled, block=64),
        origin="https://github.com/flashinfer-ai/flashinfer/pull/4401", reveals="structure", dtypes=("", "bfloat16"),
    ),
    Fault(
        "softmax max floored for masked rows", "softmax left-padded", floored, softmax,
        origin="https://github.com/tracel-ai/burn/pull/4697", reveals="structure",
    ),
    Fault(
        "softmax guarded by eps in the sum", "softmax", partial(softmax, small=1e-6), softmax,
        origin="1e-6 added to a sum that is at least 1, against a division by zero that cannot be",
    ),
    Fault(
        "softmax over rows", "softmax", over_rows, softmax,
        origin="https://github.com/dmlc/nnvm/pull/503", dtypes=ALL,
    ),
    Fault(
        "softmax exp2 with short constant", "softmax", partial(in_powers_of_two, factor=1.4427), in_powers_of_two,
        origin="log2(e) written with five digits", reveals="activations",
    ),
    Fault(
        "softmax online without rescaling", "softmax", partial(online, rescale=False), online,
        origin="online softmax: the running sum is not rescaled when the maximum grows", reveals="shapes",
    ),
    Fault(
        "softmax online without rescaling of 128", "softmax vocabulary",
        partial(online, rescale=False, block=128), partial(online, block=128),
        origin="online softmax: the running sum is not rescaled when the maximum grows", reveals="activations",
    ),
    Fault(
        "softmax online -inf minus -inf", "softmax left-padded",
        partial(online, block=4, guard=False), partial(online, block=4),
        origin="https://github.com/flashinfer-ai/flashinfer/pull/4401", reveals="activations",
    ),
    Fault(
        "softmax online -inf minus -inf in 32", "softmax", partial(online, guard=False), online,
        origin="https://github.com/flashinfer-ai/flashinfer/pull/4401", reveals="specials",
    ),
    Fault(
        "softmax sums in float16", "softmax vocabulary", partial(in_half, wide=torch.float16), in_half,
        origin="the row's sum is kept in the data's dtype", reveals="structure", dtypes=("float16",),
    ),
    _fault(
        "softmax tail lanes as zeros of 32", 32, "https://github.com/tenstorrent/tt-metal/issues/4599", fill=0.0,
    ),
    _fault(
        "softmax full last block masked of 128", 128, "the tail mask is width % block, which is 0 for a full block",
        summed=_remainder_of_last(128),
    ),
    _fault(
        "softmax full last block masked of 1024", 1024, "the tail mask is width % block, which is 0 for a full block",
        summed=_remainder_of_last(1024),
    ),
    _fault(
        "softmax last block of one of 256", 256, "blocks are counted as (width - 1) / block rounded up",
        summed=_beyond_one(256),
    ),
    _fault(
        "softmax last block of one of 1024", 1024, "blocks are counted as (width - 1) / block rounded up",
        summed=_beyond_one(1024),
    ),
    _fault(
        "softmax first 1024 summed", 256, "one element a thread, a work-group of at most 1024",
        summed=lambda places, width: places < 1024,
    ),
    _fault(
        "softmax subgroup of 32 taken for 64", 64, "https://github.com/apache/tvm/pull/14641",
        summed=lambda places, width: places % 64 < 32,
    ),
)  # fmt: skip

CONTROLS = (
    Control("softmax online", "softmax", online, dtypes=ALL),
    Control("softmax online blocks of one", "softmax left-padded", partial(online, block=1), dtypes=ALL),
    Control("softmax exp2", "softmax", in_powers_of_two, dtypes=ALL),
    Control("softmax exp2 vocabulary", "softmax vocabulary", in_powers_of_two, dtypes=ALL),
    Control("softmax of 256 lanes", "softmax vocabulary", partial(tiled, block=256), dtypes=ALL),
)
