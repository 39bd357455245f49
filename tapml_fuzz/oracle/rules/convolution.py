"""Convolution and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle import summation as s
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.matmul import biased
from tapml_fuzz.oracle.tracked import Tracked


@rule("aten.convolution")
def convolution(
    x: Tracked,
    weight: Tracked,
    bias: Tracked | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tracked:
    """A sum of in-channels/groups * kernel products per element, bounded like a matrix product.

    The bound is that of direct convolution; fast algorithms (Winograd, FFT) are less accurate by design.
    """
    a = x.arithmetic
    x, weight = e.floating(x, a), e.floating(weight, a)
    where = (None, stride, padding, dilation, transposed, output_padding, groups)

    def convolve(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten.convolution.default(one, two, *where)  # type: ignore[no-any-return]

    value, magnitude = convolve(x.value, weight.value), convolve(x.value.abs(), weight.value.abs())
    channels = x.value.shape[-1 - len(stride)]
    n = channels // groups * weight.value[0, 0].numel()
    repeats = 1.0
    if n > 1 and x.value.numel() and weight.value.numel():
        # Per element that is the share of pairs that are equal, at the number of terms of one output.
        alike = (s.multiplicity(t.flatten(), 0, a.roundoff) for t in (x.value, weight.value))
        repeats = min(
            1.0 + (float(m) - 1.0) * n / max(t.numel(), 1) for m, t in zip(alike, (x.value, weight.value), strict=True)
        )
    start = None if bias is None else movement.moved(lambda t: t.reshape(-1, *[1] * len(stride)), bias)
    # The sum may start from the bias; what an infinite one makes infinite does not round.
    gathered = magnitude if start is None else magnitude + start.value.abs().nan_to_num(0.0, 0.0)
    share: torch.Tensor | float = 0.0
    if x.value.numel() and weight.value.numel():
        share = s.largest_share(x.value.abs().amax() * weight.value.abs().amax(), gathered)
    own = gathered * ((s.growth(n + 1, repeats, share) + 1.0) * a.roundoff)
    own.add_(n * a.underflow)
    error: torch.Tensor | None = None
    if weight.error is not None:
        reach = x.value.abs() if x.error is None else x.value.abs() + x.error
        error = convolve(reach, movement.dense_error(weight))
    if x.error is not None:
        part = convolve(movement.dense_error(x), weight.value.abs())
        error = part if error is None else error + part
    lost = s.infinite_and_overflowing(
        value, magnitude, a.largest, lambda: s.product_parts(x.value, weight.value, convolve)
    )
    if not transposed and (skipped := _beyond_the_edge(x.value, weight.value, convolve)) is not None:
        lost = skipped if lost is None else lost | skipped
    result = a.rounded(value, error, (), own=own, magnitude=magnitude, unbounded=lost)
    # Libraries without a fused bias store the products' sum first (cuDNN through torch does).
    return result if start is None else biased(result, start, x)


def _beyond_the_edge(
    x: torch.Tensor, weight: torch.Tensor, convolve: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor | None:
    """A mask of where a weight that is infinite or NaN meets the padding, and no NaN meets the input.

    Times the padding's zero it is NaN, but a kernel may as well leave the padding out.
    """
    special = ~torch.isfinite(weight)
    if not bool(special.any()):
        return None
    inside = torch.ones_like(x)
    every = special.flatten(1).sum(1).reshape(-1, *[1] * (weight.ndim - 2))
    left_out: torch.Tensor = convolve(inside, special.to(torch.float64)) < every
    certain = convolve(inside, torch.isnan(weight).to(torch.float64)) > 0
    return left_out & ~certain


def _pooling(axes: int) -> None:
    """The rules of pooling over the last `axes` axes, with or without a batch axis in front."""
    average = getattr(torch.ops.aten, f"avg_pool{axes}d")
    largest = getattr(torch, f"max_pool{axes}d")

    @rule(f"aten.avg_pool{axes}d")
    def _(x: Tracked, kernel_size: Sequence[int], *rest: Any, **options: Any) -> Tracked:
        """The mean over each window. A kernel of one number is as wide on every axis."""
        value, weight = (average(t, kernel_size, *rest, **options) for t in (x.value, x.value.abs()))
        n = math.prod(kernel_size) ** (axes if len(kernel_size) == 1 else 1)
        # Sum, then divide by the count or multiply by its rounded reciprocal.
        own = weight * ((float(s.growth(n, float(n))) + 2.0) * x.arithmetic.roundoff)
        error = None if x.error is None else average(movement.dense_error(x), kernel_size, *rest, **options)
        # The sum may overflow where the mean does not.
        lost = weight * n > x.arithmetic.largest
        return x.arithmetic.rounded(value, error, (), own=own, nonnegative=x.nonnegative, unbounded=lost)

    @rule(f"aten.max_pool{axes}d")
    def _(x: Tracked, kernel_size: Sequence[int], *rest: Any, **options: Any) -> Tracked:
        """The largest of each window moves by at most the largest error in it."""
        value = largest(x.value, list(kernel_size), *rest, **options)
        error = None if x.error is None else largest(movement.dense_error(x), list(kernel_size), *rest, **options)
        return Tracked(value, x.arithmetic, error, x.storage_dtype, x.overflows, x.nonnegative)


for _axes in (1, 2):
    _pooling(_axes)
