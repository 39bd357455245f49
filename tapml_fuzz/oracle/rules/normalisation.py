"""Layer, RMS, group and batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle import reductions as r
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked


def _affine(x: Tracked, weight: Tracked | None, bias: Tracked | None) -> Tracked:
    if weight is not None:
        x = e.mul(x, weight)
    return x if bias is None else e.add(x, bias)


def _normalised(
    x: Tracked, deviation: Tracked, centre: Tracked, scale: Tracked, weight: Tracked | None, bias: Tracked | None
) -> Tracked:
    """(x - centre) * scale * weight + bias.

    Folded into one multiply-add, x * (scale * weight) + (bias - centre * scale * weight), it is as right; what
    overflows only in that form (or meets an infinite weight there as inf - inf) is unjudged.
    """
    result = _affine(e.mul(deviation, scale), weight, bias)
    factor = scale.value if weight is None else scale.value * weight.value
    offset = torch.zeros((), dtype=torch.float64) if bias is None else bias.value.abs()
    reach = max(_largest(x), 1.0) * float(factor.abs().amax()) + float(offset.amax()) if factor.numel() else 0.0
    if reach <= x.arithmetic.largest / 2:
        return result
    folded = torch.maximum(x.value.abs(), centre.value.abs()).clamp_min(1.0) * factor.abs() + offset
    lost = (folded > x.arithmetic.largest / 2) & (torch.isfinite(x.value) | torch.isinf(factor))
    return result.with_error(torch.where(lost, torch.inf, movement.dense_error(result)))


def _largest(x: Tracked) -> float:
    return float(x.value.abs().amax()) if x.value.numel() else 0.0


def _last(count: int) -> list[int]:
    return list(range(-count, 0))


@rule("aten.native_layer_norm")
def native_layer_norm(
    x: Tracked, normalized_shape: Sequence[int], weight: Tracked | None, bias: Tracked | None, eps: float
) -> tuple[Tracked, Tracked, Tracked]:
    """Output, mean and reciprocal standard deviation, the statistics with their reduced axes kept as one."""
    deviation, centre, variance = r.moments(x, _last(len(normalized_shape)))
    scale = f.rsqrt(e.add(variance, eps))
    return _normalised(x, deviation, centre, scale, weight, bias), r.updated(centre), scale


@rule("aten.layer_norm")
def layer_norm(
    x: Tracked,
    normalized_shape: Sequence[int],
    weight: Tracked | None = None,
    bias: Tracked | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tracked:
    """The first output of `native_layer_norm`."""
    return native_layer_norm(x, normalized_shape, weight, bias, eps)[0]


def _root_mean_square(
    x: Tracked, normalized_shape: Sequence[int], weight: Tracked | None, eps: float | None
) -> tuple[Tracked, Tracked]:
    """eps defaults to the machine epsilon of the dtype that torch computes in: the input's, not below float32."""
    if eps is None:
        eps = 2 * dtypes.unit_roundoff(str(x.arithmetic.dtype).removeprefix("torch."))
    scale = f.rsqrt(e.add(r.mean(e.square(x), _last(len(normalized_shape)), keepdim=True), eps))
    return _affine(e.mul(x, scale), weight, None), scale


@rule("aten.rms_norm")
def rms_norm(
    x: Tracked, normalized_shape: Sequence[int], weight: Tracked | None = None, eps: float | None = None
) -> Tracked:
    """x over its root mean square, times the weight."""
    return _root_mean_square(x, normalized_shape, weight, eps)[0]


@rule("aten._fused_rms_norm")
def fused_rms_norm(
    x: Tracked, normalized_shape: Sequence[int], weight: Tracked | None, eps: float | None
) -> tuple[Tracked, Tracked]:
    """`rms_norm`, and the reciprocal root mean square."""
    return _root_mean_square(x, normalized_shape, weight, eps)


def _per_channel(x: Tracked | None, ndim: int) -> Tracked | None:
    return None if x is None else movement.moved(lambda t: t.reshape(1, -1, *[1] * (ndim - 2)), x)


@rule("aten.native_group_norm")
def native_group_norm(
    x: Tracked, weight: Tracked | None, bias: Tracked | None, n: int, c: int, hw: int, group: int, eps: float
) -> tuple[Tracked, Tracked, Tracked]:
    """Output, mean and reciprocal standard deviation per sample and group, `[n, group]` each of the latter."""
    grouped = movement.moved(lambda t: t.reshape(n, group, (c // group) * hw), x)
    _, centre, variance = r.moments(grouped, [-1])
    # The statistics are outputs in x's dtype, and kernels read them back from there.
    centre, scale = e.store_intermediate(centre, x), e.store_intermediate(f.rsqrt(e.add(variance, eps)), x)
    deviation = e.sub(grouped, centre)
    channels = (n, group, c // group, -1)

    def per_group(t: Tracked | None) -> Tracked | None:
        return None if t is None else movement.moved(lambda v: v.reshape(1, group, c // group, 1), t)

    def split(t: Tracked) -> Tracked:
        return movement.moved(lambda v: v.reshape(channels), t)  # type: ignore[no-any-return]

    def row(t: Tracked) -> Tracked:
        return movement.moved(lambda v: v.reshape(n, group, 1, 1), t)  # type: ignore[no-any-return]

    normal = _normalised(split(grouped), split(deviation), row(centre), row(scale), per_group(weight), per_group(bias))
    output = movement.moved(lambda t: t.reshape(x.value.shape), normal)
    return output, r.squeezed(r.updated(centre), [2], False), r.squeezed(scale, [2], False)


@rule("aten.group_norm")
def group_norm(
    x: Tracked, group: int, weight: Tracked | None = None, bias: Tracked | None = None, eps: float = 1e-5, *_: Any
) -> Tracked:
    """The first output of `native_group_norm`."""
    n, c = x.value.shape[:2]
    return native_group_norm(x, weight, bias, n, c, math.prod(x.value.shape[2:]), group, eps)[0]


@rule("aten._native_batch_norm_legit_no_training")
def batch_norm_inference(
    x: Tracked, weight: Tracked | None, bias: Tracked | None, mean: Tracked, var: Tracked, momentum: float, eps: float
) -> tuple[Tracked, Tracked, Tracked]:
    """The recorded statistics normalise; the two saved outputs are empty at inference.

    Folding into one multiply-add, x * a + (b - mean * a), is as right as subtracting first: its error is that
    of each term.
    """
    ndim = x.value.ndim
    scale = _per_channel(f.rsqrt(e.add(var, eps)), ndim)
    centre = _per_channel(mean, ndim)
    assert scale is not None
    assert centre is not None
    if weight is not None:
        scale = e.mul(scale, _per_channel(weight, ndim))  # type: ignore[arg-type]
    product, offset = e.mul(x, scale), e.mul(centre, scale)
    normal = e.sub(product, offset)
    shift = _per_channel(bias, ndim)
    empty = Tracked(torch.empty(0, dtype=torch.float64), x.arithmetic)
    return normal if shift is None else e.add(normal, shift), empty, empty
