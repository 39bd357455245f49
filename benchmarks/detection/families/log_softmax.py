"""Log-softmax and logsumexp over the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.families.softmax import ALL, softmax
from benchmarks.detection.model import Control, Fault, Subject


def _logits() -> list[tuple[Tensor, int, bool]]:
    """Rows of a tied language head over a part of the vocabulary."""
    return [(logits[:6], -1, False) for logits in every("logits")]


def _summed() -> list[tuple[Tensor, list[int], bool]]:
    return [(logits[6:10, : 900 + 40 * number], [-1], False) for number, logits in enumerate(every("logits"))]


SUBJECTS = (
    Subject("log_softmax", "softmax", "aten._log_softmax.default", _logits),
    Subject("logsumexp", "softmax", "aten.logsumexp.default", _summed),
)


def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    wide = x.float()
    if not x.shape[dim]:
        return x.clone()
    shifted = wide - wide.amax(dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim, keepdim=True).log()).to(x.dtype)


def log_of_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return softmax(x.float(), dim, half_to_float).log().to(x.dtype)


def without_maximum(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return (x.float() - x.float().exp().sum(dim, keepdim=True).log()).to(x.dtype)


def in_base_two(x: Tensor, dim: int, half_to_float: bool, *, scale: float = math.log(2)) -> Tensor:
    """By exp2 and log2, the logarithm brought back to base e by `scale`."""
    wide = x.float()
    if not x.shape[dim]:
        return x.clone()
    shifted = wide - wide.amax(dim, keepdim=True)
    total = torch.exp2(shifted * math.log2(math.e)).sum(dim, keepdim=True)
    return (shifted - total.log2() * scale).to(x.dtype)


def logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool, *, infinite: bool = False) -> Tensor:
    """`infinite`: an infinite maximum is subtracted as well, and gives NaN."""
    wide = x.float()
    if not x.shape[-1]:
        return wide.new_full((*x.shape[:-1], *[1] * keepdim), -math.inf).to(x.dtype)
    top = wide.amax(-1, keepdim=True)
    if not infinite:
        top = top.masked_fill(top.isinf(), 0.0)
    result = (wide - top).exp().sum(-1, keepdim=True).log() + top
    return (result if keepdim else result.squeeze(-1)).to(x.dtype)


def naive_logsumexp(x: Tensor, dim: Sequence[int], keepdim: bool) -> Tensor:
    return x.float().exp().sum(-1, keepdim=keepdim).log().to(x.dtype)


def merged(x: Tensor, dim: Sequence[int], keepdim: bool, *, block: int = 256, whole: bool = True) -> Tensor:
    """Of each block alone, then of the blocks' results (split reductions). Not `whole`: the last block is left out."""
    blocks = list(torch.split(x.float(), block, dim=-1))
    if not whole and len(blocks) > 1:
        blocks.pop()
    parts = torch.cat([logsumexp(part, [-1], True) for part in blocks], -1)
    return logsumexp(parts, [-1], keepdim).to(x.dtype)


FAULTS = (
    Fault(
        "log_softmax as log of softmax", "log_softmax", log_of_softmax, log_softmax,
        origin="https://github.com/apache/tvm/pull/11141", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "log_softmax without maximum", "log_softmax", without_maximum, log_softmax,
        origin="x - log(sum(exp(x))) as it is written", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "log_softmax by log2 with short constant", "log_softmax", partial(in_base_two, scale=0.6931), in_base_two,
        origin="ln(2) written with four digits",
    ),
    Fault(
        "logsumexp without maximum", "logsumexp", naive_logsumexp, logsumexp,
        origin="log(sum(exp(x))) as it is written", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "logsumexp subtracts infinite maximum", "logsumexp", partial(logsumexp, infinite=True), logsumexp,
        origin="-inf - -inf where all of a row is masked", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "logsumexp last split left out", "logsumexp",
        partial(merged, block=1024, whole=False), partial(merged, block=1024),
        origin="the number of splits is the width over their size, rounded down", reveals="shapes",
    ),
)  # fmt: skip

CONTROLS = (
    Control("log_softmax by log2", "log_softmax", in_base_two, dtypes=ALL),
    Control("logsumexp merged", "logsumexp", merged, dtypes=ALL),
)
