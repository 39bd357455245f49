"""Planted faults and their correct twins: each fault is one small change to a correct implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Planted:
    """A faulty candidate, its correct twin, and how `check` is called for both."""

    name: str
    operator: str | Callable[..., Any]
    faulty: Callable[..., Any]
    correct: Callable[..., Any]
    options: dict[str, Any]


def _blocks(x: Tensor, size: int = 32) -> list[Tensor]:
    return list(x.split(size, dim=-1)) or [x]


def softmax_online(x: Tensor) -> Tensor:
    """One pass over blocks, rescaling the running sum (Milakov and Gimelshein 2018)."""
    top = x.new_full(x.shape[:-1], -math.inf)
    total = torch.zeros_like(top)
    for block in _blocks(x):
        new = torch.maximum(top, block.amax(-1)) if block.shape[-1] else top
        # While all is -inf there is nothing to rescale, and -inf minus -inf is NaN.
        shift = torch.where(new == -math.inf, torch.zeros_like(new), new)
        total = total * torch.exp(top - shift) + torch.exp(block - shift[..., None]).sum(-1)
        top = new
    return torch.exp(x - top[..., None]) / total[..., None]


def softmax_tail_dropped(x: Tensor) -> Tensor:
    """Whole blocks of 32 only take part in the sum."""
    whole = max(x.shape[-1] // 32 * 32, min(x.shape[-1], 32))
    top = x.amax(-1, keepdim=True)
    powers = torch.exp(x - top)
    return powers / powers[..., :whole].sum(-1, keepdim=True)


def softmax_without_max(x: Tensor) -> Tensor:
    powers = torch.exp(x)
    return powers / powers.sum(-1, keepdim=True)


def softmax_plain(x: Tensor) -> Tensor:
    if x.shape[-1] == 0:
        return x.clone()
    powers = torch.exp(x - x.amax(-1, keepdim=True))
    return powers / powers.sum(-1, keepdim=True)


def softmax_wrong_axis(x: Tensor) -> Tensor:
    return torch.softmax(x, -2)


def layer_norm(x: Tensor, normalized_shape: list[int], weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps) * weight + bias


def layer_norm_without_eps(x: Tensor, normalized_shape: list[int], weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True)) * weight + bias


def layer_norm_one_pass(x: Tensor, normalized_shape: list[int], weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Variance as E[x^2] - E[x]^2."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x * x).mean(-1, keepdim=True) - mean * mean).clamp_min(0)
    return (x - mean) * torch.rsqrt(variance + eps) * weight + bias


def layer_norm_unbiased(x: Tensor, normalized_shape: list[int], weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    variance = x.var(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(variance + eps) * weight + bias


def tanh_overflowing(x: Tensor) -> Tensor:
    powers = torch.exp(2 * x)
    return (powers - 1) / (powers + 1)


def tanh_stable(x: Tensor) -> Tensor:
    return torch.sign(x) * -torch.expm1(-2 * x.abs()) / (1 + torch.exp(-2 * x.abs()))


def gelu_by_tanh(x: Tensor) -> Tensor:
    """The tanh approximation where the exact form was asked for."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_by_erfc(x: Tensor) -> Tensor:
    return 0.5 * x * torch.special.erfc(-x * math.sqrt(0.5))


def matmul_half_accumulation(x: Tensor, w: Tensor) -> Tensor:
    total = torch.zeros((x.shape[0], w.shape[1]), dtype=torch.float16)
    for k in range(x.shape[1]):
        total = total + x[:, k : k + 1].half() * w[k : k + 1].half()
    return total.to(x.dtype)


def matmul_assigned(x: Tensor, w: Tensor) -> Tensor:
    """`acc =` in place of `acc +=` over blocks of 16."""
    total = torch.zeros((x.shape[0], w.shape[1]), dtype=x.dtype)
    for start in range(0, x.shape[1], 16):
        total = x[:, start : start + 16] @ w[start : start + 16]
    return total


def matmul_blocked(x: Tensor, w: Tensor) -> Tensor:
    total = torch.zeros((x.shape[0], w.shape[1]), dtype=torch.float32)
    for start in range(0, x.shape[1], 16):
        total += x[:, start : start + 16].float() @ w[start : start + 16].float()
    return total.to(x.dtype)


def add_flat_offset(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The last element is left out when the size is one past a power of two."""
    out = x + y
    if out.size > 1 and (out.size - 1) & (out.size - 2) == 0:
        out.reshape(-1)[-1] = 0
    return out


def add_numpy(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return x + y


def sum_first_dropped(x: Tensor) -> Tensor:
    return x[..., 1:].sum(-1)


def sum_reversed(x: Tensor) -> Tensor:
    return x.flip(-1).sum(-1)


def embedding_off_by_one(weight: Tensor, ids: Tensor) -> Tensor:
    return weight[ids.clamp(max=weight.shape[0] - 2)] if weight.shape[0] > 1 else weight[ids]


def embedding_rows(weight: Tensor, ids: Tensor) -> Tensor:
    return weight.index_select(0, ids.reshape(-1)).reshape(*ids.shape, weight.shape[1])


def transpose_strides_ignored(x: Tensor) -> Tensor:
    """Reads its input's memory in order, as if it were packed."""
    packed = torch.as_strided(x, x.shape, torch.empty(x.shape).stride())
    return packed.transpose(0, 1).contiguous()


def transpose_copied(x: Tensor) -> Tensor:
    return x.transpose(0, 1).clone()


def relu_nan_to_zero(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def relu_clamped(x: Tensor) -> Tensor:
    return x.clamp_min(0)


def partly_unwritten(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[: x.shape[0] // 4 * 4] = -x[: x.shape[0] // 4 * 4]
    return out


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """The reference a user wrote: any torch callable that runs in float64."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def rms_norm_sum(x: Tensor, weight: Tensor) -> Tensor:
    """The sum of squares where the mean belongs."""
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6) * weight


def rms_norm_other_order(x: Tensor, weight: Tensor) -> Tensor:
    root = torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + 1e-6)
    return weight * (x / root)


def _generated(*shapes: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randn(shape, generator=generator) for shape in shapes)]


_SOFTMAX = {"attributes": {"dim": -1}}
_MATMUL = {"inputs": _generated((24, 64), (64, 20))}

PLANTED = [
    Planted("softmax-tail", "aten.softmax.int", softmax_tail_dropped, softmax_online, _SOFTMAX),
    Planted("softmax-max", "aten.softmax.int", softmax_without_max, softmax_plain, _SOFTMAX),
    Planted("softmax-axis", "aten.softmax.int", softmax_wrong_axis, softmax_plain, _SOFTMAX),
    Planted(
        "layer-norm-eps",
        "aten.layer_norm.default",
        layer_norm_without_eps,
        layer_norm,
        {"inputs": [(*_generated((6, 48))[0], [48], *_generated((48,), (48,))[0], 1e-5)]},
    ),
    Planted(
        "layer-norm-variance",
        "aten.layer_norm.default",
        layer_norm_one_pass,
        layer_norm,
        {"inputs": [(_generated((6, 48))[0][0] + 30, [48], *_generated((48,), (48,))[0], 1e-5)]},
    ),
    Planted(
        "layer-norm-unbiased",
        "aten.layer_norm.default",
        layer_norm_unbiased,
        layer_norm,
        {"inputs": [(*_generated((6, 48))[0], [48], *_generated((48,), (48,))[0], 1e-5)]},
    ),
    Planted("tanh-overflow", "aten.tanh.default", tanh_overflowing, tanh_stable, {}),
    Planted("gelu-form", "aten.gelu.default", gelu_by_tanh, gelu_by_erfc, {}),
    Planted("matmul-f16", "aten.mm.default", matmul_half_accumulation, matmul_blocked, _MATMUL),
    Planted("matmul-assign", "aten.mm.default", matmul_assigned, matmul_blocked, _MATMUL),
    Planted(
        "add-power-of-two",
        "aten.add.Tensor",
        add_flat_offset,
        add_numpy,
        {"inputs": _generated((20, 12), (20, 12)), "arrays": "numpy"},
    ),
    Planted(
        "sum-first", "aten.sum.dim_IntList", sum_first_dropped, sum_reversed,
        {"inputs": _generated((20, 12)), "attributes": {"dim": [-1]}},
    ),
    Planted("embedding-last-row", "aten.embedding.default", embedding_off_by_one, embedding_rows, {}),
    Planted(
        "transpose-strides", "aten.t.default", transpose_strides_ignored, transpose_copied,
        {"inputs": _generated((20, 12))},
    ),
    Planted("relu-nan", "aten.relu.default", relu_nan_to_zero, relu_clamped, {"inputs": _generated((20, 12))}),
    Planted("unwritten", "aten.neg.default", partly_unwritten, torch.neg, {"inputs": _generated((20, 12))}),
    Planted("rms-norm-mean", rms_norm, rms_norm_sum, rms_norm_other_order, {"inputs": _generated((8, 32), (32,))}),
]  # fmt: skip
