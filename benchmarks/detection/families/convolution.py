"""Convolutions in one and two dimensions, with padding, strides, dilation and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded, weight
from benchmarks.detection.families.windows import windows
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")
Sizes = Sequence[int]


def image(batch: int, layer: int, channels: int, width: int) -> Tensor:
    """Hidden states as a picture: a row per token, `width` columns, channels beside one another."""
    states = recorded("inner", batch, layer)[..., : channels * width]
    return states.reshape(*states.shape[:2], channels, width).transpose(1, 2).contiguous()


def _filters(layer: int, out: int, *shape: int) -> tuple[Tensor, Tensor]:
    taken = torch.Size(shape).numel()
    return weight("weight", layer)[:out, :taken].reshape(out, *shape), weight("bias", layer)[:out]


def _pictures() -> list[tuple[Any, ...]]:
    """3 x 3 with a border of one: channels in fours, columns in eights."""
    cuts = ((0, 1, 4, 16, 8), (1, 1, 8, 8, 8), (2, 5, 4, 8, 16))
    return [
        (image(b, layer, c, w), *_filters(layer, o, c, 3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
        for b, layer, c, w, o in cuts
    ]


def _uneven() -> list[tuple[Any, ...]]:
    """Nothing the same in height and width."""
    cuts = ((0, 1, 4, 21, 6), (1, 5, 3, 18, 8), (2, 1, 5, 15, 5))
    return [
        (image(b, layer, c, w), *_filters(layer, o, c, 3, 2), [2, 1], [1, 2], [1, 2], False, [0, 0], 1)
        for b, layer, c, w, o in cuts
    ]


def _grouped() -> list[tuple[Any, ...]]:
    cuts = ((0, 1, 12, 8), (1, 5, 11, 6), (2, 1, 10, 12))
    return [
        (image(b, layer, 4, w), *_filters(layer, o, 2, 3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 2)
        for b, layer, w, o in cuts
    ]


def _depthwise() -> list[tuple[Any, ...]]:
    """Over tokens, each channel alone, every second place: 16 channels."""
    return [
        (recorded("inner", b, layer)[..., :16].transpose(1, 2).contiguous(), *_filters(layer, 16, 1, 4),
         [2], [2], [1], False, [0], 16)
        for b in BATCHES for layer in LAYERS
    ]  # fmt: skip


def _temporal() -> list[tuple[Any, ...]]:
    """Over tokens, as speech models begin."""
    cuts = ((24, 16), (32, 12), (40, 8))
    return [
        (recorded("normed", b, 1)[..., :c].transpose(1, 2).contiguous(), *_filters(1, o, c, 3),
         [2], [1], [1], False, [0], 1)
        for b, (c, o) in zip(BATCHES, cuts, strict=True)
    ]  # fmt: skip


CONVOLUTION = "aten.convolution.default"
_PLAIN = (("b", "c", "h", "w"), ("o", "c", "i", "j"), ("o",))
SUBJECTS = (
    Subject("conv2d", "convolution", CONVOLUTION, _pictures, axes=_PLAIN),
    Subject("conv2d uneven", "convolution", CONVOLUTION, _uneven, axes=_PLAIN),
    Subject("conv2d grouped", "convolution", CONVOLUTION, _grouped),
    Subject("conv1d depthwise", "convolution", CONVOLUTION, _depthwise),
    Subject("conv1d", "convolution", CONVOLUTION, _temporal, axes=(("b", "c", "l"), ("o", "c", "i"), ("o",))),
)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
    *,
    step: Sizes | None = None,
    before: Sizes | None = None,
    spread: Sizes | None = None,
    round_robin: bool = False,
    bias_in_group: bool = False,
) -> Tensor:
    """By im2col. Keywords replace what windows are placed by, or how channels and biases are dealt to groups."""
    flat = x.ndim == 3
    if flat:
        x, weight = x.unsqueeze(2), weight.unsqueeze(2)
    kernel = weight.shape[2:]

    def both(sizes: Sizes, fill: int) -> list[int]:
        return [fill, *sizes] if flat else list(sizes)

    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, both(stride, 1), both(padding, 0), both(dilation, 1), strict=True)
    ]
    seen = windows(
        x.float(), counts, kernel, both(step or stride, 1), both(before or padding, 0), both(spread or dilation, 1), 0.0
    )
    taps = x.shape[1] // groups * kernel[0] * kernel[1]
    columns = seen.permute(0, 1, 3, 5, 2, 4).reshape(len(x), groups, taps, counts[0] * counts[1])
    each = weight.shape[0] // groups
    order = torch.arange(weight.shape[0])
    if round_robin:  # output channel o belongs to group o % groups
        order = order.reshape(each, groups).T.reshape(-1)
    rows = weight.float()[order].reshape(groups, each, taps)
    products = torch.empty(len(x), weight.shape[0], counts[0] * counts[1])
    products[:, order] = (rows @ columns).reshape(products.shape)
    biases = bias.float()[torch.arange(len(bias)) % each] if bias_in_group else bias.float()
    out = (products + biases[:, None]).reshape(len(x), len(weight), *counts).to(x.dtype)
    return out.squeeze(2) if flat else out


def swapped_stride(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, *rest: Any) -> Tensor:
    return convolve(x, weight, bias, stride, *rest, step=stride[::-1])


def leading_padding(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes, *rest: Any) -> Tensor:
    return convolve(x, weight, bias, stride, padding, *rest, before=[2 * p for p in padding])


def undilated(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes, *rest: Any) -> Tensor:
    return convolve(x, weight, bias, stride, padding, *rest, spread=[1, 1])


def spread_by_stride(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, *rest: Any) -> Tensor:
    return convolve(x, weight, bias, stride, *rest, spread=stride)


def flipped(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return convolve(x, weight.flip(list(range(2, weight.ndim))), *rest)


def by_four_channels(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    """Input channels in vectors of four; the rest is not looked at."""
    whole = x.shape[1] // 4 * 4
    return convolve(x[:, :whole], weight[:, :whole], *rest)


def short_taps(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    """Room for 64 taps of each kernel; later ones are zero."""
    flat = weight.flatten(2).clone()
    flat[..., 64:] = 0
    return convolve(x, flat.reshape(weight.shape), *rest)


def clipped(*args: Any, written: int) -> Tensor:
    """Only the first elements of the output are written."""
    right = convolve(*args)
    out = torch.empty(right.shape, dtype=right.dtype).reshape(-1)
    out[:written] = right.reshape(-1)[:written]
    return out.reshape(right.shape)


def by_columns(*args: Any) -> Tensor:
    """Tiles of eight columns; a partial tile at the right is never written."""
    right = convolve(*args)
    out = torch.empty(right.shape, dtype=right.dtype)
    whole = right.shape[-1] // 8 * 8
    out[..., :whole] = right[..., :whole]
    return out


def in_float16(x: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
    """Input channels are added up one after another, in float16."""
    total = None
    for c in range(x.shape[1]):
        part = convolve(x[:, c : c + 1].float(), weight[:, c : c + 1].float(), torch.zeros(len(bias)), *rest).half()
        total = part if total is None else total + part
    return convolve(x, weight, bias, *rest) if total is None else total + bias.reshape(-1, *[1] * (x.ndim - 2))


FAULTS = (
    Fault(
        "conv pads before only", "conv2d", leading_padding, convolve,
        origin="all of the padding is put at the top left", dtypes=HALVES,
    ),
    Fault(
        "conv swaps strides", "conv2d uneven", swapped_stride, convolve,
        origin="strides of height and width are swapped", dtypes=HALVES,
    ),
    Fault(
        "conv ignores dilation", "conv2d uneven", undilated, convolve,
        origin="https://github.com/lightvector/KataGo/pull/1148", dtypes=HALVES,
    ),
    Fault(
        "conv depthwise spread by its stride", "conv1d depthwise", spread_by_stride, convolve,
        origin="https://github.com/pytorch/executorch/pull/7595",
    ),
    Fault(
        "conv flips the kernel", "conv1d", flipped, convolve,
        origin="a true convolution for a cross-correlation", dtypes=HALVES,
    ),
    Fault(
        "conv groups dealt round", "conv2d grouped", lambda *a: convolve(*a, round_robin=True), convolve,
        origin="group = o % groups for o // (outputs / groups)", dtypes=HALVES,
    ),
    Fault(
        "conv bias of the first group", "conv2d grouped", lambda *a: convolve(*a, bias_in_group=True), convolve,
        origin="https://github.com/robertknight/rten/pull/1408",
    ),
    Fault(
        "conv drops a tail of channels", "conv2d", by_four_channels, convolve,
        origin="channels packed in fours for a texture", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "conv drops a tail of columns", "conv2d", by_columns, convolve,
        origin="the grid is width // 8, not its ceiling", reveals="shapes",
    ),
    Fault(
        "conv with room for 64 taps", "conv2d", short_taps, convolve,
        origin="taps are staged in an array of fixed size", reveals="shapes",
    ),
    Fault(
        "conv writes 65536 elements", "conv2d", lambda *a: clipped(*a, written=65536), convolve,
        origin="https://github.com/tinygrad/tinygrad/issues/11782", reveals="shapes",
    ),
    Fault(
        "conv accumulates in float16", "conv1d", in_float16, convolve,
        origin="the accumulator has the tensor's dtype", dtypes=("float16",),
    ),
)  # fmt: skip


def by_taps(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes, *rest: Any) -> Tensor:
    """One tap of the kernel at a time, in float32, over all positions."""
    pads = [p for p in reversed(padding) for _ in range(2)]
    wide, total = torch.nn.functional.pad(x.float(), pads), bias.float()[:, None]
    dilation, kernel = rest[0], weight.shape[2:]
    counts = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(wide.shape[2:], kernel, stride, dilation, strict=True)
    ]
    for tap in torch.cartesian_prod(*(torch.arange(k) for k in kernel)).reshape(-1, len(kernel)).tolist():
        place = [
            slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, stride, counts, strict=True)
        ]
        part = wide[(slice(None), slice(None), *place)].flatten(2)
        total = total + weight[(slice(None), slice(None), *tap)].float() @ part
    return total.reshape(len(x), len(weight), *counts).to(x.dtype)


CONTROLS = (
    Control("conv by im2col", "conv2d", convolve, dtypes=HALVES),
    Control("conv by taps", "conv2d uneven", by_taps, dtypes=HALVES),
    Control("conv of torch in half precision", "conv1d", torch.ops.aten.convolution.default,
            dtypes=("float16", "bfloat16")),
)  # fmt: skip
