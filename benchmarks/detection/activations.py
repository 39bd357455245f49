"""Recorded activations of MiniLM, by name (`record.py` made them): what the recorded inputs of subjects are cut from.

Per batch `n` in 0 to 2, of shape [b, s] = [2, 14], [1, 22], [3, 14], padded:
`ids` int64[b, s] (rows of `embedding`), `mask` int64[b, s] (1: a token), `logits` f32[12, 1023] (of a tied head), and
per layer `l` in 1 and 5: `residual` f32[b, s, 384] (what the layer norm takes, with outlier channels), `normed` (what
it gives), `inner` f32[b, s, 384] (before gelu), `q`, `k`, `v` f32[b, 4, s, 32].
Per layer `gamma`, `beta` f32[384], `weight` f32[96, 384], `bias` f32[96]. Also `embedding` f32[1023, 128], `router`
f32[384, 8], `vocabulary` int64[1023].
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

BATCHES, LAYERS = (0, 1, 2), (1, 5)
LOWEST = torch.finfo(torch.float32).min


@cache
def _recorded() -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = safetensors.torch.load_file(Path(__file__).with_name("activations.safetensors"))
    return loaded


def weight(name: str, layer: int | None = None) -> Tensor:
    """A recorded weight: `weight("gamma", 5)`, `weight("embedding")`."""
    return _recorded()[name if layer is None else f"layer{layer}.{name}"]


def recorded(name: str, batch: int, layer: int | None = None) -> Tensor:
    """A recorded activation of one batch: `recorded("residual", 0, 5)`, `recorded("ids", 2)`."""
    return _recorded()[f"batch{batch}." + (name if layer is None else f"layer{layer}.{name}")]


def every(name: str) -> list[Tensor]:
    """An activation of all batches and layers: six tensors, or three of one that has no layer."""
    if f"batch0.{name}" in _recorded():
        return [recorded(name, batch) for batch in BATCHES]
    return [recorded(name, batch, layer) for batch in BATCHES for layer in LAYERS]


def padding(batch: int) -> Tensor:
    """The additive mask of a batch, f32[b, 1, s, s]: zero, or the lowest number where the key is padding."""
    mask = recorded("mask", batch)
    wide = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
    hidden = torch.full(wide.shape, LOWEST)
    return hidden.masked_fill(wide > 0, 0.0)


def scores(batch: int, layer: int) -> Tensor:
    """Masked attention scores before softmax, f32[b, 4, s, s]."""
    q, k = recorded("q", batch, layer), recorded("k", batch, layer)
    masked: Tensor = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + padding(batch)
    return masked
