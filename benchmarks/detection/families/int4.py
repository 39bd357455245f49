"""Weights of four bits, two in a byte, with a scale for each group of a row."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import LAYERS, weight
from benchmarks.detection.model import Control, Fault, Subject


def unpack(packed: Tensor, scales: Tensor) -> Tensor:
    """Bytes [n, k/2] and scales [n, g] to [n, k]: low nibble first, two's complement, groups of ceil(k / g)."""
    wide = packed.to(torch.int32)
    pairs = torch.stack([wide & 15, wide >> 4], dim=-1).flatten(1)
    signed = (pairs ^ 8) - 8
    width = -(-signed.shape[1] // scales.shape[1])
    return signed.to(scales.dtype) * scales[:, torch.arange(signed.shape[1]) // width]


def pack(values: Tensor) -> Tensor:
    """Two columns of int8 [n, 2, k] to bytes [n, k], the first in the low nibble."""
    wide = values.to(torch.int32) & 15
    return (wide[:, 0] | (wide[:, 1] << 4)).to(torch.uint8)


def _steps(layer: int, rows: int, columns: int, groups: int) -> tuple[Tensor, Tensor]:
    """A weight in steps of each group's largest magnitude / 7, and those steps."""
    grouped = weight("weight", layer)[:rows, :columns].reshape(rows, groups, -1)
    scale = grouped.abs().amax(-1, keepdim=True) / 7
    return torch.round(grouped / scale).to(torch.int8).flatten(1), scale.squeeze(-1)


_SIZES = ((64, 128, 4), (48, 192, 6), (80, 96, 3))


def _weights() -> list[tuple[Tensor, Tensor]]:
    calls = []
    for layer in LAYERS:
        for sizes in _SIZES:
            steps, scale = _steps(layer, *sizes)
            calls.append((pack(steps.reshape(len(steps), -1, 2).transpose(1, 2)), scale))
    return calls


def _columns() -> list[tuple[Tensor]]:
    steps = [_steps(layer, *sizes)[0] for layer in LAYERS for sizes in _SIZES]
    return [(s.reshape(len(s), 2, -1),) for s in steps]


SUBJECTS = (
    Subject("int4 unpack", "quantisation", unpack, _weights, axes=(("n", "bytes"), ("n", "groups"))),
    Subject("int4 pack", "quantisation", pack, _columns, moves=True),
)


def unpacked(
    packed: Tensor,
    scales: Tensor,
    *,
    swapped: bool = False,
    signed: bool = True,
    floored: bool = False,
    late: int = 0,
    by_byte: bool = False,
) -> Tensor:
    """`floored`: groups of floor(k / g); `late`: a scale is loaded that many elements late; `by_byte`: once a byte."""
    wide = packed.int()
    nibbles = torch.stack([wide >> 4, wide & 15] if swapped else [wide & 15, wide >> 4], dim=-1).flatten(1)
    values = torch.where(signed & (nibbles > 7), nibbles - 16, nibbles)
    count, groups = values.shape[1], scales.shape[1]
    width = max(1, count // groups) if floored else -(-count // groups)
    place = torch.arange(count) // 2 * 2 if by_byte else (torch.arange(count) - late).clamp(min=0)
    group = (place // width).clamp(max=groups - 1) if count else place
    return (values.float() * scales[:, group].float()).to(scales.dtype)


def packed(values: Tensor, *, masked: bool = True) -> Tensor:
    """Without `masked` the sign of the low nibble runs into the high one."""
    low, high = values[:, 0].int(), values[:, 1].int()
    return (((low & 15) if masked else low) | (high << 4)).to(torch.uint8)


FAULTS = (
    Fault(
        "int4 nibbles swapped", "int4 unpack", lambda *a: unpacked(*a, swapped=True), unpacked,
        origin="the high nibble taken for the first", dtypes=("", "float16"),
    ),
    Fault(
        "int4 without sign", "int4 unpack", lambda *a: unpacked(*a, signed=False), unpacked,
        origin="https://github.com/1bit-MONSTER/1bit-MONSTER/pull/2316",
    ),
    Fault(
        "int4 last group", "int4 unpack", lambda *a: unpacked(*a, floored=True), unpacked,
        origin="k / g rounded down: a partial last group moves every boundary", reveals="shapes",
    ),
    Fault(
        "int4 previous scale", "int4 unpack", lambda *a: unpacked(*a, late=1), unpacked,
        origin="a pipelined load whose scale arrives one element late",
    ),
    Fault(
        "int4 one scale a byte", "int4 unpack", lambda *a: unpacked(*a, by_byte=True), unpacked,
        origin="https://github.com/Comfy-Org/comfy-kitchen/pull/50", reveals="shapes",
    ),
    Fault(
        "int4 pack without mask", "int4 pack", lambda v: packed(v, masked=False), packed,
        origin="a negative low nibble not masked before it is joined",
    ),
)  # fmt: skip

CONTROLS = (Control("int4 unpack in half", "int4 unpack", unpacked, dtypes=("float16", "bfloat16")),)
