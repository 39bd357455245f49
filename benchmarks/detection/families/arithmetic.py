"""Arithmetic of two operands, with and without broadcasting: add, sub, mul, div, pow, rsqrt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject
from tapml_fuzz.core.policy import Policy

HALVES = ("float16", "bfloat16")
ALL = ("", *HALVES)


def _heads_and_bias() -> list[tuple[Tensor, Tensor]]:
    """Queries of all heads [b * 4, s, 32] and a bias of their width."""
    pairs = [(recorded("q", b, layer), weight("bias", layer)) for b in BATCHES for layer in LAYERS]
    return [(q.flatten(0, 1), bias[:32]) for q, bias in pairs]


def _channels_and_gamma() -> list[tuple[Tensor, Tensor]]:
    pairs = [(recorded("normed", b, layer), weight("gamma", layer)) for b in BATCHES for layer in LAYERS]
    return [(x.flatten(0, 1)[:, :160], gamma[:160]) for x, gamma in pairs]


def _rows_and_scales() -> list[tuple[Tensor, Tensor]]:
    """Residual streams [b, s, 96] and one over their root mean square [b, s, 1]."""
    return [(t[..., 48:144], torch.rsqrt(t.square().mean(-1, keepdim=True))) for t in every("residual")]


def _rows_and_norms() -> list[tuple[Tensor, Tensor]]:
    rows = [t.flatten(0, 1)[:, 64:192] for t in every("residual")]
    return [(r, r.norm(dim=-1, keepdim=True)) for r in rows]


def _keys_and_queries() -> list[tuple[Tensor, Tensor]]:
    return [(q.flatten(0, 2), k.flatten(0, 2)) for q, k in zip(every("q"), every("k"), strict=True)]


def _with_alpha() -> list[tuple[Tensor, Tensor, float]]:
    """A layer's output and a low-rank adapter's, which comes in by half."""
    return [(q, k, 0.5) for q, k in _keys_and_queries()]


def _inner() -> list[tuple[Tensor, float]]:
    return [(t.flatten(0, 1)[:, :160], 3.0) for t in every("inner")]


def _mean_squares() -> list[tuple[Tensor]]:
    return [(t.reshape(*t.shape[:-1], 24, 16).square().mean(-1).flatten(0, 1) + 1e-12,) for t in every("residual")]


def add_scaled(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    return torch.add(x, y, alpha=alpha)


def multiply_add(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.addcmul(z, x, y)


def _products_and_sums() -> list[tuple[Tensor, Tensor, Tensor]]:
    return [(v.flatten(0, 2), *pair) for v, pair in zip(every("v"), _keys_and_queries(), strict=True)]


SUBJECTS = (
    Subject("add head bias", "arithmetic", "aten.add.Tensor", _heads_and_bias),
    Subject("multiply channels", "arithmetic", "aten.mul.Tensor", _channels_and_gamma),
    Subject("multiply rows", "arithmetic", "aten.mul.Tensor", _rows_and_scales),
    Subject("multiply", "arithmetic", "aten.mul.Tensor", _keys_and_queries),
    Subject("divide rows", "arithmetic", "aten.div.Tensor", _rows_and_norms),
    Subject("add scaled", "arithmetic", add_scaled, _with_alpha),
    Subject("multiply-add", "arithmetic", multiply_add, _products_and_sums),
    Subject("cube", "arithmetic", "aten.pow.Tensor_Scalar", _inner),
    Subject("rsqrt", "arithmetic", "aten.rsqrt.default", _mean_squares),
)


def add_last(x: Tensor, y: Tensor, *, by_size: bool = False) -> Tensor:
    """A vector added along the last axis; `by_size`: along the first axis of its size."""
    axis = [*x.shape].index(y.shape[0]) if by_size else x.ndim - 1
    return (x.float() + y.float().reshape(-1, *[1] * (x.ndim - 1 - axis))).to(x.dtype)


def multiply_last(x: Tensor, y: Tensor, *, by_size: bool = False) -> Tensor:
    axis = [*x.shape].index(y.shape[0]) if by_size else x.ndim - 1
    return (x.float() * y.float().reshape(-1, *[1] * (x.ndim - 1 - axis))).to(x.dtype)


class RepackedBias:
    """Adds a bias that was packed before; `by_shape`: a bias of the same shape is taken for the same bias."""

    def __init__(self, *, by_shape: bool) -> None:
        self.by_shape = by_shape
        self.packed: dict[Any, Tensor] = {}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.by_shape:
            self.packed.clear()
        packed = self.packed.setdefault((y.shape, y.dtype), y.float())
        return (x.float() + packed).to(x.dtype)


def multiply_rows(x: Tensor, y: Tensor, *, scalar_path: bool = False) -> Tensor:
    """One factor per row; `scalar_path`: a factor of shape [..., 1, 1] is read once."""
    factors = y.float()
    if scalar_path and y.shape[-2:] == (1, 1) and y.numel():
        factors = factors.reshape(-1)[0]
    return (x.float() * factors).to(x.dtype)


def multiply_padded(x: Tensor, y: Tensor, *, digits: int = 20) -> Tensor:
    """Rows padded to a power of two, whose exponent is a logarithm rounded to so many binary digits."""
    out = torch.empty(x.shape, dtype=x.dtype)
    width = x.shape[-1]
    if width:
        exponent = np.ceil(np.round(np.log2(width) * 2**digits) / 2**digits)
        inside = slice(0, 1 << int(exponent))
        out[..., inside] = (x[..., inside].float() * y[..., inside].float()).to(x.dtype)
    return out


def multiply_vectors(x: Tensor, y: Tensor, *, tail: bool = True) -> Tensor:
    """Four elements a step of the flattened tensors, then the rest."""
    out = torch.empty(x.numel(), dtype=x.dtype)
    a, b = x.reshape(-1).float(), y.reshape(-1).float()
    whole = x.numel() // 4 * 4
    for part in (slice(0, whole), slice(whole, None if tail else whole)):
        out[part] = (a[part] * b[part]).to(x.dtype)
    return out.reshape(x.shape)


def multiply_aligned(x: Tensor, y: Tensor, *, rounded_down: bool = False) -> Tensor:
    """`rounded_down`: vectors of the first operand are loaded from the multiple of 16 bytes below its address."""
    a = x.contiguous()
    if rounded_down and a.numel():
        a = a.reshape(-1).roll(a.data_ptr() % 16 // a.element_size()).reshape(a.shape)
    return (a.float() * y.float()).to(x.dtype)


def multiply_flushing(x: Tensor, y: Tensor, *, flush: bool = True) -> Tensor:
    """`flush`: a subnormal result is zero."""
    out = (x.float() * y.float()).to(x.dtype)
    return torch.where(out.abs() < torch.finfo(x.dtype).smallest_normal, 0.0, out) if flush else out


def divide(x: Tensor, y: Tensor, *, reciprocal: bool = False) -> Tensor:
    wide, divisor = x.float(), y.float()
    return (wide * (1 / divisor) if reciprocal else wide / divisor).to(x.dtype)


def scaled_sum(x: Tensor, y: Tensor, alpha: float, *, first: float = 1.0) -> Tensor:
    return (first * x.float() + alpha * y.float()).to(x.dtype)


def fused(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """One rounding: the product of two float32 is exact in float64."""
    return (x.double() * y.double() + z.double()).float().to(x.dtype)


def cube(x: Tensor, exponent: float, *, by_logarithm: bool = False) -> Tensor:
    """`by_logarithm`: as exp2(3 log2(x)), which has no value for a negative base."""
    wide = x.float()
    base = torch.where(wide < 0, torch.nan, wide) if by_logarithm else wide
    return (base * base * base).to(x.dtype)


def rsqrt(x: Tensor, *, steps: int = 1, flush: bool = False) -> Tensor:
    """An estimate of 14 bits and Newton's method; `flush`: a subnormal operand is read as zero."""
    wide = x.float()
    if flush:
        wide = torch.where(wide.abs() < torch.finfo(torch.float32).smallest_normal, 0.0, wide)
    y = (torch.rsqrt(wide).view(torch.int32) & -0x200).view(torch.float32)
    for _ in range(steps):
        y = torch.where(torch.isfinite(y) & (y != 0), y * (1.5 - (wide * y) * (0.5 * y)), y)
    return y.to(x.dtype)


_ALPHA = "https://github.com/apple/coremltools/issues/2573"
_SQUARE = "broadcasting by matching sizes instead of aligned axes"

FAULTS = (
    Fault(
        "add bias on the wrong axis of a square", "add head bias", lambda x, y: add_last(x, y, by_size=True), add_last,
        origin=_SQUARE, reveals="shapes",
    ),
    Fault(
        "multiply on the wrong axis of a square", "multiply channels",
        lambda x, y: multiply_last(x, y, by_size=True), multiply_last,
        origin=_SQUARE, reveals="shapes",
    ),
    Fault(
        "add bias repacked once per shape", "add head bias",
        RepackedBias(by_shape=True), RepackedBias(by_shape=False),
        origin="weights repacked once and cached by shape", reveals="runs",
    ),
    Fault(
        "multiply rows of one by the first factor", "multiply rows",
        lambda x, y: multiply_rows(x, y, scalar_path=True), multiply_rows,
        origin="https://github.com/tenstorrent/tt-metal/issues/15359", reveals="shapes",
    ),
    Fault(
        "multiply with last element of 2^k + 1 left out", "multiply",
        lambda x, y: multiply_padded(x, y, digits=6), multiply_padded,
        origin="rows padded to 2^ceil(log2 n) by a fast logarithm", reveals="shapes", dtypes=ALL,
    ),
    Fault(
        "multiply without tail", "multiply", lambda x, y: multiply_vectors(x, y, tail=False), multiply_vectors,
        origin="https://github.com/amd/IRON/pull/198", reveals="shapes", dtypes=ALL,
    ),
    Fault(
        "multiply loads aligned down", "multiply", lambda x, y: multiply_aligned(x, y, rounded_down=True),
        multiply_aligned, origin="vector loads that ignore the low bits of the address", reveals="layout",
    ),
    Fault(
        "multiply flushes half subnormals", "multiply",
        multiply_flushing, lambda x, y: multiply_flushing(x, y, flush=False),
        origin="half arithmetic with denormals off", dtypes=("float16",), reveals="activations",
    ),
    Fault(
        "multiply flushes subnormals", "multiply",
        multiply_flushing, lambda x, y: multiply_flushing(x, y, flush=False),
        origin="https://github.com/cupy/cupy/issues/8382", reveals="specials",
    ),
    Fault(
        "divide by reciprocal", "divide rows", lambda x, y: divide(x, y, reciprocal=True), divide,
        origin="https://github.com/tenstorrent/tt-metal/issues/52094", reveals="specials",
    ),
    Fault(
        "add ignores alpha", "add scaled", lambda x, y, alpha: scaled_sum(x, y, 1.0), scaled_sum,
        origin=_ALPHA, dtypes=ALL,
    ),
    Fault(
        "add scales the first operand", "add scaled",
        lambda x, y, alpha: scaled_sum(x, y, 1.0, first=alpha), scaled_sum,
        origin="alpha of the second operand applied to the first", dtypes=ALL,
    ),
    Fault(
        "cube by logarithm", "cube", lambda *a: cube(*a, by_logarithm=True), cube,
        origin="https://github.com/praeclarum/webgpu-torch/issues/11",
    ),
    Fault(
        "rsqrt without Newton's step", "rsqrt", lambda x: rsqrt(x, steps=0), rsqrt,
        origin="https://github.com/libxsmm/libxsmm/issues/774",
    ),
    Fault(
        "rsqrt of a subnormal", "rsqrt", lambda x: rsqrt(x, flush=True), rsqrt,
        origin="https://github.com/jax-ml/jax/issues/37762", reveals="specials",
    ),
)  # fmt: skip

_FLUSHES = Policy(flushes_subnormals=True, source="OpenCL C Specification, Edge Case Behavior in Flush To Zero Mode")
_WGSL = Policy(
    flushes_subnormals=True, accuracy="wgsl", source="WGSL, Floating Point Accuracy: division within 2.5 ULP"
)

CONTROLS = (
    Control("multiply flushing, allowed", "multiply", multiply_flushing, dtypes=("", "float16"), policy=_FLUSHES),
    Control("divide by reciprocal, allowed", "divide rows", lambda x, y: divide(x, y, reciprocal=True), policy=_WGSL),
    Control("multiply-add fused", "multiply-add", fused, dtypes=ALL),
    Control("multiply-add torch", "multiply-add", multiply_add, dtypes=ALL),
    Control("add scaled torch", "add scaled", add_scaled, dtypes=ALL),
    Control("rsqrt by estimate and Newton", "rsqrt", rsqrt, dtypes=ALL),
    Control("rsqrt torch", "rsqrt", torch.rsqrt, dtypes=ALL),
    Control("divide numpy", "divide rows", np.divide, arrays="numpy"),
    Control("cube torch", "cube", torch.pow, dtypes=ALL),
)
