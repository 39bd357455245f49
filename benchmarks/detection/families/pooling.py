"""Pooling: average and maximum over windows, and the mean of a sentence's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded
from benchmarks.detection.families.convolution import HALVES, image
from benchmarks.detection.families.windows import windows
from benchmarks.detection.model import Control, Fault, Subject

Sizes = Sequence[int]


def mean_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over a sentence's tokens as MiniLM takes it; zero for a sentence of none."""
    shown = mask.unsqueeze(-1).to(states.dtype)
    return (states * shown).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _rectified() -> list[tuple[Any, ...]]:
    """Features after relu, as max pooling follows it."""
    cuts = ((0, 1, 4, 20), (1, 5, 5, 18), (2, 1, 4, 16))
    return [(image(*cut).neg().relu(), [3, 3], [2, 2], [1, 1], [1, 1], False) for cut in cuts]


def _averaged(*rest: Any) -> list[tuple[Any, ...]]:
    cuts = ((0, 1, 4, 20), (1, 5, 5, 18), (2, 1, 4, 16))
    return [(image(*cut), *rest) for cut in cuts]


def _bordered() -> list[tuple[Any, ...]]:
    """What lies beyond the border does not count."""
    return _averaged([3, 3], [2, 2], [1, 1], False, False)


def _ceiled() -> list[tuple[Any, ...]]:
    """With ceil_mode, at sizes that need none: 14 and 22 rows, 20 to 16 columns, in windows of two."""
    return _averaged([2, 2], [2, 2], [0, 0], True, True)


def _sentences() -> list[tuple[Tensor, Tensor]]:
    return [
        (recorded("normed", batch, layer)[..., : 64 + 16 * batch], recorded("mask", batch) > 0)
        for batch in BATCHES
        for layer in LAYERS
    ]


SUBJECTS = (
    Subject("max pool", "pooling", "aten.max_pool2d.default", _rectified, moves=True),
    Subject("avg pool", "pooling", "aten.avg_pool2d.default", _bordered),
    Subject("avg pool ceil", "pooling", "aten.avg_pool2d.default", _ceiled),
    Subject("mean pooling", "pooling", mean_pooling, _sentences),
)


def _count(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> int:
    """Number of windows; with `ceil` the last may hang over, but starts inside the input or its left border."""
    span = size + 2 * padding - kernel
    count = (-(-span // stride) if ceil else span // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


def max_pool(
    x: Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil: bool,
    *,
    outside: float = -math.inf,
    floor: float = -math.inf,
    skips_nan: bool = False,
) -> Tensor:
    """`outside` pads, the running maximum starts from `floor`, and `skips_nan` keeps the number of the two."""
    counts = [
        _count(n, d * (k - 1) + 1, s, p, ceil)
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    ]
    seen = windows(x, counts, kernel, stride, padding, dilation, outside)
    largest = torch.full((*x.shape[:2], *counts), floor, dtype=x.dtype)
    pick = torch.fmax if skips_nan else torch.maximum
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            largest = pick(largest, seen[:, :, :, row, :, column])
    return largest


def avg_pool(
    x: Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil: bool,
    counts_padding: bool,
    *,
    always_whole: bool = False,
    by_prefix: bool = False,
) -> Tensor:
    """Divides by what a window covers of the input, with `counts_padding` of the padded input; or `always_whole`."""
    counts = [_count(*sizes, ceil) for sizes in zip(x.shape[2:], kernel, stride, padding, strict=True)]
    sums = windows(x.float(), counts, kernel, stride, padding, (1, 1), 0.0).sum((3, 5))
    if by_prefix:
        sums = _from_prefixes(x.float(), counts, kernel, stride, padding)
    covered = []
    for n, count, k, s, p in zip(x.shape[2:], counts, kernel, stride, padding, strict=True):
        start = torch.arange(count) * s - p
        low, high = (-p, n + p) if counts_padding else (0, n)
        covered.append((start + k).clamp(max=high) - start.clamp(min=low))
    area = torch.tensor(kernel).prod() if always_whole else covered[0][:, None] * covered[1]
    return (sums / area).to(x.dtype)


def _from_prefixes(x: Tensor, counts: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes) -> Tensor:
    """Sums of windows as differences of sums from the top left corner (a summed-area table)."""
    table = torch.nn.functional.pad(x.cumsum(2).cumsum(3), (1, 0, 1, 0))
    for axis in (0, 1):
        n = x.shape[2 + axis]
        start = torch.arange(counts[axis]) * stride[axis] - padding[axis]
        ends = (start + kernel[axis]).clamp(0, n), start.clamp(0, n)
        table = table.index_select(2 + axis, ends[0]) - table.index_select(2 + axis, ends[1])
    return table


def pooled(states: Tensor, mask: Tensor, *, by_length: bool = False, least: int = 1, most: int | None = None) -> Tensor:
    """`by_length` divides by all positions; divisors are `least` at least, and counting ends at `most`."""
    total = (states.float() * mask[..., None]).sum(1)
    count = mask.sum(1).clamp(max=most) if most else mask.sum(1)
    divisor = torch.full_like(count, mask.shape[1]) if by_length else count.clamp(min=least)
    return (total / divisor[:, None].float()).to(states.dtype)


FAULTS = (
    Fault(
        "max pool pads with zero", "max pool", lambda *a: max_pool(*a, outside=0.0), max_pool,
        origin="https://github.com/pytorch/pytorch/issues/33384", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "max pool starts from the lowest number", "max pool",
        lambda x, *a: max_pool(x, *a, floor=torch.finfo(x.dtype).min), max_pool,
        origin="-FLT_MAX for minus infinity", reveals="specials", dtypes=HALVES,
    ),
    Fault(
        "max pool skips NaN", "max pool", lambda *a: max_pool(*a, skips_nan=True), max_pool,
        origin="https://github.com/tracel-ai/burn/pull/5662", reveals="specials", dtypes=HALVES,
    ),
    Fault(
        "avg pool counts the border", "avg pool", lambda *a: avg_pool(*a, always_whole=True), avg_pool,
        origin="https://github.com/apache/tvm/issues/1144", dtypes=HALVES,
    ),
    Fault(
        "avg pool counts the overhang", "avg pool ceil", lambda *a: avg_pool(*a, always_whole=True), avg_pool,
        origin="https://github.com/apple/coremltools/pull/2844", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "avg pool from prefix sums", "avg pool", lambda *a: avg_pool(*a, by_prefix=True), avg_pool,
        origin="box filters by a summed-area table: small sums are differences of large ones", reveals="activations",
    ),
    Fault(
        "mean pooling over padding", "mean pooling", lambda *a: pooled(*a, by_length=True), pooled,
        origin="https://github.com/HKUDS/LightRAG/pull/3675", dtypes=HALVES,
    ),
    Fault(
        "mean pooling of no token", "mean pooling", lambda *a: pooled(*a, least=0), pooled,
        origin="https://github.com/HKUDS/LightRAG/pull/3675", reveals="structure", dtypes=HALVES,
    ),
    Fault(
        "mean pooling counts in bfloat16", "mean pooling", lambda *a: pooled(*a, most=256), pooled,
        origin="the mask is summed in the model's dtype: 256 + 1 is 256", reveals="shapes", dtypes=HALVES,
    ),
)  # fmt: skip


def by_product(states: Tensor, mask: Tensor) -> Tensor:
    """The mean as a product with a row of weights 1/n."""
    weights = mask.float() / mask.sum(1, keepdim=True).clamp(min=1)
    return (weights[:, None, :] @ states.float()).squeeze(1).to(states.dtype)


CONTROLS = (
    Control("mean pooling as a product", "mean pooling", by_product, dtypes=HALVES),
    Control("avg pool of torch in half precision", "avg pool", torch.ops.aten.avg_pool2d.default,
            dtypes=("float16", "bfloat16")),
)  # fmt: skip
