"""Softmax, log-softmax and logsumexp over the last axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.detection.activations import every, scores
from benchmarks.detection.model import Control, Fault, Subject


def _scores() -> list[tuple[Tensor, int, bool]]:
    """Attention scores as MiniLM masks them: padding is hidden by the lowest number."""
    return [(scores(batch, layer), -1, False) for batch in range(3) for layer in (1, 5)]


def _logits() -> list[tuple[Tensor, int, bool]]:
    """Rows of a tied language head over a part of the vocabulary."""
    return [(logits[:6], -1, False) for logits in every("logits")]


SUBJECTS = (
    Subject("softmax", "softmax", "aten._softmax.default", _scores),
    Subject("log_softmax", "softmax", "aten._log_softmax.default", _logits),
)


def softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """In float32 inside, rounded once at the end."""
    wide = x.float()
    powers = torch.exp(wide - wide.amax(dim, keepdim=True)) if x.shape[dim] else wide
    return (powers / powers.sum(dim, keepdim=True)).to(x.dtype)


def without_maximum(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    powers = torch.exp(x.float())
    return (powers / powers.sum(dim, keepdim=True)).to(x.dtype)


def online(x: Tensor, dim: int, half_to_float: bool, *, rescale: bool = True) -> Tensor:
    """One pass over blocks of 32 that rescales the running sum (Milakov and Gimelshein 2018)."""
    wide = x.float()
    top = wide.new_full(wide.shape[:-1], -math.inf)
    total = torch.zeros_like(top)
    for block in torch.split(wide, 32, dim=-1):
        new = torch.maximum(top, block.amax(-1)) if block.shape[-1] else top
        factor = torch.where(top == new, torch.ones_like(top), torch.exp(top - new)) if rescale else 1.0
        total = total * factor + torch.exp(block - new[..., None]).sum(-1)
        top = new
    return (torch.exp(wide - top[..., None]) / total[..., None]).to(x.dtype)


FAULTS = (
    Fault(
        "softmax without maximum", "softmax", without_maximum, softmax,
        origin="naive exp(x) / sum(exp(x)) in a first port", reveals="activations", dtypes=("", "float16", "bfloat16"),
    ),
    Fault(
        "softmax online without rescaling", "softmax", lambda *a: online(*a, rescale=False), online,
        origin="online softmax: the running sum is not rescaled when the maximum grows", reveals="shapes",
    ),
)  # fmt: skip

CONTROLS = (Control("softmax online", "softmax", online, dtypes=("", "float16", "bfloat16")),)
