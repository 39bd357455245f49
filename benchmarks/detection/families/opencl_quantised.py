"""Integers in OpenCL C: 4-bit weights, floor division."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import LAYERS, weight
from benchmarks.detection.model import Subject
from benchmarks.detection.opencl import Device, OpenCLKernel, ceil_div, planted
from tapml_fuzz.core.dtypes import Array

_BLOCK = 64


def dequantise(packed: Tensor, scales: Tensor) -> Tensor:
    """Blocks of 32 weights, [n, blocks, 16] bytes: low nibbles are the first 16, high ones the rest; 8 is zero."""
    nibbles = torch.cat([packed & 15, packed >> 4], -1).int() - 8
    return (nibbles * scales[..., None]).flatten(1)


def _packed() -> list[tuple[Tensor, Tensor]]:
    """Parts of the intermediate layer's weight, rounded to 4 bits by the block."""
    calls = []
    for layer in LAYERS:
        for rows, columns in ((24, 128), (32, 96)):
            blocks = weight("weight", layer)[:rows, :columns].reshape(rows, -1, 32)
            scales = blocks.abs().amax(-1) / 7
            levels = (blocks / scales[..., None]).round().clamp(-8, 7).to(torch.uint8) + 8 & 15
            calls.append((levels[..., :16] | levels[..., 16:] << 4, scales))
    return calls


SUBJECTS = (Subject("opencl dequantise", "quantisation", dequantise, _packed, axes=(("n", "b", 16), ("n", "b"))),)

_DEQUANTISE = """
kernel void dequantise(global float *y, global const uchar *packed, global const float *scales, int n) {
    int i = GLOBAL(0);
    if (i >= n) return;
    int block = i / 32, within = i % 32;
    uchar two = packed[block * 16 + within % 16];
    int level = within < 16 ? two & 15 : two >> 4;
    y[i] = (level - 8) * scales[block];
}
"""
# -1 and 0 are apart: the lowest number by -1 traps on some devices, and a quotient by 0 is undefined everywhere.
_FLOOR_DIVIDE = """
kernel void floor_divide(global T *y, global const T *a, global const T *b, int n, int width) {
    int i = GLOBAL(0);
    if (i >= n) return;
    T x = a[i], d = b[i % width];
    if (d == 0 || d == -1) {
        y[i] = -(uint)x * (d != 0);
        return;
    }
    T quotient = x / d;
    if (x % d != 0 && (x < 0) != (d < 0)) quotient--;
    y[i] = quotient;
}
"""


def _dequantise(device: Device, packed: Array, scales: Array) -> Array:
    shape = (packed.shape[0], packed.shape[1] * 32)
    y, n = device.new(shape, "float32"), 2 * packed.size
    device.run("dequantise", (ceil_div(n, _BLOCK),), (_BLOCK,), y, device.put(packed), device.put(scales), n)
    return device.get(y, shape, "float32")


def _floor_divide(device: Device, a: Array, b: Array) -> Array:
    y = device.new(a.shape, a.dtype)
    given = (device.put(a), device.put(b), a.size, b.size)
    device.run("floor_divide", (ceil_div(a.size, _BLOCK),), (_BLOCK,), y, *given)
    return device.get(y, a.shape, a.dtype)


dequantise_kernel = OpenCLKernel(_DEQUANTISE, _dequantise)
floor_divide = OpenCLKernel(_FLOOR_DIVIDE, _floor_divide)


FAULTS = (
    planted(
        "opencl dequantise sign of high nibble", "opencl dequantise", dequantise_kernel,
        dequantise_kernel.but("uchar two = ", "char two = "),
        origin="a signed byte's high nibble is shifted down with its sign",
    ),
    planted(
        "opencl dequantise nibbles interleaved", "opencl dequantise", dequantise_kernel,
        dequantise_kernel.but("within % 16", "within / 2").but("within < 16", "within % 2 == 0"),
        origin="low and high nibbles taken for neighbours, where the format has the halves of a block in them",
    ),
    planted(
        "opencl floor division truncates", "integer floor division", floor_divide,
        floor_divide.but("    if (x % d != 0 && (x < 0) != (d < 0)) quotient--;\n", ""),
        origin="https://github.com/NVIDIA/warp/issues/1918",
    ),
    planted(
        "opencl floor division of negatives less one", "integer floor division", floor_divide,
        floor_divide.but("x % d != 0 && ", ""),
        origin="one is taken off every negative quotient, exact ones included",
    ),
)  # fmt: skip
