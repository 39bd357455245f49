"""Quantising to int8, per tensor, per channel and per row, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

LOW, HIGH = -128, 127


def quantise(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """Saturate(round(x / scale) + zero_point), ties to even (ONNX QuantizeLinear)."""
    return (torch.round(x / scale) + zero_point).clamp(LOW, HIGH).to(torch.int8)


def quantise_channels(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """With a scale and a zero point for each row of a weight."""
    return (torch.round(x / scale[:, None]) + zero_point[:, None]).clamp(LOW, HIGH).to(torch.int8)


def dequantise_channels(q: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """(q - zero_point) * scale, by row (ONNX DequantizeLinear)."""
    return (q.to(torch.int32) - zero_point[:, None].to(torch.int32)).to(scale.dtype) * scale[:, None]


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each row by its own largest magnitude; a row of zeros has scale one."""
    top = x.abs().amax(-1, keepdim=True)
    scale = torch.where(top == 0, 1.0, top / 127)
    return torch.round(x / scale).clamp(-127, 127).to(torch.int8), scale


def rescale(total: Tensor, scale: Tensor) -> Tensor:
    """The int32 sums of an int8 matmul as half precision: computed in float32, rounded once."""
    return (total.to(torch.float32) * scale.to(torch.float32)).to(scale.dtype)


def _activations() -> list[tuple[Tensor, float, int]]:
    """With a calibrated scale that clips the outliers of the residual stream."""
    return [(t.flatten(0, 1)[:, 96:256], 0.0437, 5) for t in every("residual")]


def _power_of_two() -> list[tuple[Tensor, float, int]]:
    """Activations already rounded to sixteenths, with a step of an eighth: ties are frequent."""
    return [((t.flatten(0, 1)[:, :160] * 16).round() / 16, 0.125, 0) for t in every("inner")]


def _weights() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Slices of a weight with asymmetric scales and zero points by row."""
    slices = [weight("weight", layer)[:rows, :columns] for layer in LAYERS for rows, columns in _SIZES]
    return [(w, *_parameters(w)) for w in slices]


_SIZES = ((64, 96), (48, 128), (32, 72))


def _parameters(w: Tensor) -> tuple[Tensor, Tensor]:
    low, high = w.amin(1), w.amax(1)
    scale = (high - low) / 255
    return scale, (LOW - torch.round(low / scale)).clamp(LOW, HIGH).to(torch.int8)


def _quantised_weights() -> list[tuple[Tensor, Tensor, Tensor]]:
    return [(quantise_channels(*parts), *parts[1:]) for parts in _weights()]


def _rows() -> list[tuple[Tensor]]:
    return [(t.flatten(0, 1)[:, 64:192],) for t in every("residual")]


def _sums() -> list[tuple[Tensor, Tensor]]:
    """Of residual streams and weights, both in int8; the largest exceed 65504."""
    calls = []
    for batch in BATCHES:
        for layer in LAYERS:
            x, x_scale = quantise_rows(recorded("residual", batch, layer).flatten(0, 1))
            w, w_scale = quantise_rows(weight("weight", layer))
            scale = (w_scale.reshape(-1) * x_scale.mean()).to(torch.float16)
            calls.append(((x.int() @ w.int().T), scale))
    return calls


SUBJECTS = (
    Subject("quantise", "quantisation", quantise, _activations),
    Subject("quantise on ties", "quantisation", quantise, _power_of_two),
    Subject("quantise channels", "quantisation", quantise_channels, _weights),
    Subject("dequantise channels", "quantisation", dequantise_channels, _quantised_weights),
    Subject("quantise rows", "quantisation", quantise_rows, _rows),
    Subject("rescale", "quantisation", rescale, _sums),
)


def quantised(
    x: Tensor,
    scale: float,
    zero_point: int,
    *,
    rounding: Any = torch.round,
    low: int = LOW,
    wraps: bool = False,
    zero_point_in: str = "rounded",
) -> Tensor:
    """`zero_point_in` says what the zero point is added to: what is `rounded`, the `input`, what is `clamped`."""
    steps = rounding((x.float() + (zero_point if zero_point_in == "input" else 0)) / scale)
    if zero_point_in == "rounded":
        steps = steps + zero_point
    inside = torch.nan_to_num(steps).clamp(-(2.0**24), 2.0**24) if wraps else torch.nan_to_num(steps).clamp(low, HIGH)
    whole = inside.to(torch.int32) + (zero_point if zero_point_in == "clamped" else 0)
    return whole.to(torch.int8)


def half_away(x: Tensor) -> Tensor:
    return torch.copysign(torch.floor(x.abs() + 0.5), x)


def quantised_by_reciprocal(x: Tensor, scale: float, zero_point: int) -> Tensor:
    """As torch's and most other CPU kernels do it."""
    steps = torch.round(x.float() * (1 / torch.tensor(scale))) + zero_point
    return torch.nan_to_num(steps).clamp(LOW, HIGH).to(torch.int8)


def channels_quantised(x: Tensor, scale: Tensor, zero_point: Tensor, *, by_size: bool = False) -> Tensor:
    """`by_size`: the last axis of the scales' size is taken for the channels."""
    last = by_size and x.shape[-1] == scale.shape[0]
    scales, zeros = (scale, zero_point) if last else (scale[:, None], zero_point[:, None])
    steps = torch.round(x.float() / scales.float()) + zeros.float()
    return torch.nan_to_num(steps).clamp(LOW, HIGH).to(torch.int8)


def channels_dequantised(
    q: Tensor, scale: Tensor, zero_point: Tensor, *, narrow: bool = False, zeros: bool = True, first: bool = False
) -> Tensor:
    """`narrow`: the difference is an int8; without `zeros`: no zero point; `first`: row 0's scale for every row."""
    difference = q.int() - zero_point[:, None].int() * zeros
    if narrow:
        difference = difference.to(torch.int8)
    scales = scale[:1] if first else scale
    return (difference.float() * scales.float()[:, None]).to(scale.dtype)


def rows_quantised(x: Tensor, *, guarded: bool = True) -> tuple[Tensor, Tensor]:
    wide = x.float()
    scale = (wide.abs().amax(-1, keepdim=True) if x.shape[-1] else wide.new_empty(*x.shape[:-1], 0)) / 127
    if guarded:
        scale = torch.where(wide.abs().amax(-1, keepdim=True) == 0, 1.0, scale)
    steps = torch.nan_to_num(torch.round(wide / scale)).clamp(-127, 127)
    return steps.to(torch.int8), scale.to(x.dtype)


def rescaled(total: Tensor, scale: Tensor, *, narrow: bool = False) -> Tensor:
    """`narrow`: the sums are made half precision before they are scaled."""
    wide = total.to(scale.dtype).float() if narrow else total.float()
    return (wide * scale.float()).to(scale.dtype)


FAULTS = (
    Fault(
        "quantise by truncation", "quantise", lambda *a: quantised(*a, rounding=torch.trunc), quantised,
        origin="a conversion to int without rounding before it",
    ),
    Fault(
        "quantise with ties away", "quantise on ties", lambda *a: quantised(*a, rounding=half_away), quantised,
        origin="https://github.com/tenstorrent/tt-metal/issues/56525", reveals="structure",
    ),
    Fault(
        "quantise wraps", "quantise", lambda *a: quantised(*a, wraps=True), quantised,
        origin="https://github.com/huggingface/sentence-transformers/pull/3847", reveals="activations",
    ),
    Fault(
        "quantise saturates at -127", "quantise", lambda *a: quantised(*a, low=-127), quantised,
        origin="https://github.com/microsoft/onnxruntime/issues/3442", reveals="activations",
    ),
    Fault(
        "quantise without zero point", "quantise", lambda x, s, z: quantised(x, s, 0), quantised,
        origin="symmetric quantisation assumed",
    ),
    Fault(
        "quantise adds the zero point first", "quantise",
        lambda *a: quantised(*a, zero_point_in="input"), quantised,
        origin="the zero point added to the real number instead of the step",
    ),
    Fault(
        "quantise adds the zero point last", "quantise",
        lambda *a: quantised(*a, zero_point_in="clamped"), quantised,
        origin="the zero point added after saturating", reveals="activations",
    ),
    Fault(
        "quantise columns of a square", "quantise channels",
        lambda *a: channels_quantised(*a, by_size=True), channels_quantised,
        origin="a channel axis guessed from the scales' size", reveals="shapes",
    ),
    Fault(
        "dequantise by the first scale", "dequantise channels",
        lambda *a: channels_dequantised(*a, first=True), channels_dequantised,
        origin="https://github.com/sonos/tract/pull/2849",
    ),
    Fault(
        "dequantise in int8", "dequantise channels",
        lambda *a: channels_dequantised(*a, narrow=True), channels_dequantised,
        origin="the zero point subtracted in int8", reveals="activations",
    ),
    Fault(
        "dequantise without zero point", "dequantise channels",
        lambda *a: channels_dequantised(*a, zeros=False), channels_dequantised,
        origin="symmetric quantisation assumed",
    ),
    Fault(
        "quantise rows of zeros", "quantise rows", lambda x: rows_quantised(x, guarded=False), rows_quantised,
        origin="https://github.com/ROCm/aiter/pull/4291", reveals="specials",
    ),
    Fault(
        "rescale by half sums", "rescale", lambda *a: rescaled(*a, narrow=True), rescaled,
        origin="https://github.com/openvinotoolkit/openvino/pull/36135", reveals="activations",
    ),
)  # fmt: skip


def _torch_quantised(x: Tensor, scale: float, zero_point: int) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of its quantised tensors
        return torch.quantize_per_tensor(x, scale, zero_point, torch.qint8).int_repr()


CONTROLS = (
    Control("quantise by reciprocal", "quantise", quantised_by_reciprocal),
    Control("quantise torch", "quantise", _torch_quantised),
    Control("quantise torch on ties", "quantise on ties", _torch_quantised),
)
