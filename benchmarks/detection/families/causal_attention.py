"""Attention as decoders use it: causal over a cache of keys, and with fewer key heads than query heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded
from benchmarks.detection.families.attention import HALVES, scale_of
from benchmarks.detection.model import Control, Fault, Subject


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The queries are the last of the keys' positions: query i of s sees keys up to i + t - s."""
    past = k.shape[-2] - q.shape[-2]
    if past < 0:
        raise ValueError("more queries than keys")
    visible = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril(past)
    scores = (q @ k.transpose(-2, -1) * scale_of(q.shape[-1])).masked_fill(~visible, -math.inf)
    return torch.softmax(scores, -1) @ v


def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Neighbouring query heads share a key head (Ainslie et al. 2023)."""
    copies = q.shape[1] // k.shape[1]
    k, v = (x.unsqueeze(2).expand(-1, -1, copies, -1, -1).flatten(1, 2) for x in (k, v))
    return torch.softmax(q @ k.transpose(-2, -1) * scale_of(q.shape[-1]), -1) @ v


def _prefill() -> list[tuple[Tensor, ...]]:
    """Nothing cached yet: as many queries as keys."""
    return [tuple(recorded(n, batch, layer)[:, :2] for n in "qkv") for batch in BATCHES for layer in LAYERS]


def _decoding() -> list[tuple[Tensor, ...]]:
    """The last queries of each sentence against everything before."""
    return [(q[:, :, -count:], k, v) for (q, k, v), count in zip(_prefill(), (1, 3, 1, 4, 1, 2), strict=True)]


def _few_key_heads() -> list[tuple[Tensor, ...]]:
    return [
        (recorded("q", batch, layer), *(recorded(n, batch, layer)[:, :2] for n in "kv"))
        for batch in BATCHES
        for layer in LAYERS
    ]


_AXES = (("b", "h", "s", "d"), ("b", "h", "t", "d"), ("b", "h", "t", "d"))
SUBJECTS = (
    Subject("causal prefill", "attention", causal, _prefill, axes=_AXES),
    Subject("causal decoding", "attention", causal, _decoding, axes=_AXES),
    Subject("grouped-query attention", "attention", grouped, _few_key_heads),
)


def masked(
    q: Tensor, k: Tensor, v: Tensor, *, shift: int = 0, top_left: bool = False, weights_in: torch.dtype = torch.float32
) -> Tensor:
    """`shift` moves the diagonal; `top_left` aligns it with the first key; `weights_in` holds the probabilities."""
    s, t = q.shape[-2], k.shape[-2]
    limit = torch.arange(s) + (0 if top_left else t - s) + shift
    scores = q.float() @ k.float().transpose(-2, -1) * scale_of(q.shape[-1])
    scores = scores.masked_fill(torch.arange(t) > limit.clamp(min=0)[:, None], -math.inf)
    return (torch.softmax(scores, -1).to(weights_in).float() @ v.float()).to(q.dtype)


def in_blocks(q: Tensor, k: Tensor, v: Tensor, *, from_last: bool = True) -> Tensor:
    """Blocks of eight queries skip keys that none of them sees: up to the last one's limit, or the first one's."""
    s, past = q.shape[-2], k.shape[-2] - q.shape[-2]
    out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    for start in range(0, s, 8):
        rows = q[..., start : start + 8, :]
        end = past + (min(start + 8, s) if from_last else start + 1)
        # Keys come in blocks of eight too, so that what lies in the block of `end` is still looked at.
        end = min(-(-end // 8) * 8, past + start + rows.shape[-2])
        seen = torch.arange(end) <= past + start + torch.arange(rows.shape[-2])[:, None]
        scores = rows.float() @ k[..., :end, :].float().transpose(-2, -1) * scale_of(q.shape[-1])
        weights = torch.softmax(scores.masked_fill(~seen, -math.inf), -1)
        out[..., start : start + 8, :] = (weights @ v[..., :end, :].float()).to(q.dtype)
    # By the definition a hidden value counts zero times, and zero times infinity or NaN is NaN.
    hidden = torch.arange(k.shape[-2]) > past + torch.arange(s)[:, None]
    return out.masked_fill((hidden.float() @ (~torch.isfinite(v)).float()) > 0, math.nan)


def heads(q: Tensor, k: Tensor, v: Tensor, *, interleaved: bool = False) -> Tensor:
    """Query head h reads key head h // copies; `interleaved`, h % key heads."""
    number = torch.arange(q.shape[1])
    owner = number % k.shape[1] if interleaved else number // max(q.shape[1] // k.shape[1], 1)
    scores = q.float() @ k[:, owner].float().transpose(-2, -1) * scale_of(q.shape[-1])
    return (torch.softmax(scores, -1) @ v[:, owner].float()).to(q.dtype)


FAULTS = (
    Fault(
        "causal mask hides the query's own key", "causal decoding", lambda *a: masked(*a, shift=-1), masked,
        origin="j < i for j <= i", dtypes=HALVES,
    ),
    Fault(
        "causal mask shows the next key", "causal prefill", lambda *a: masked(*a, shift=1), masked,
        origin="tril(1) for tril(0)", dtypes=HALVES,
    ),
    Fault(
        "causal mask aligned to the top left", "causal prefill", lambda *a: masked(*a, top_left=True), masked,
        origin="https://github.com/microsoft/onnxruntime/pull/28958", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "causal mask aligned to the top left, cached", "causal decoding", lambda *a: masked(*a, top_left=True), masked,
        origin="https://github.com/pytorch/executorch/pull/21749",
    ),
    Fault(
        "causal blocks end at their first query", "causal decoding", lambda *a: in_blocks(*a, from_last=False),
        in_blocks, origin="the loop over key blocks ends at the first query's limit", reveals="shapes",
    ),
    Fault(
        "grouped-query heads interleaved", "grouped-query attention", lambda *a: heads(*a, interleaved=True), heads,
        origin="https://github.com/onnx/onnx/pull/7274", dtypes=HALVES,
    ),
)  # fmt: skip

CONTROLS = (
    Control("causal probabilities in bfloat16", "causal prefill", lambda *a: masked(*a, weights_in=torch.bfloat16),
            dtypes=("bfloat16",)),
)  # fmt: skip
