"""Layer norm and RMS norm in OpenCL C: one work-group a row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded, weight
from benchmarks.detection.model import Subject
from benchmarks.detection.opencl import Device, OpenCLKernel, planted
from tapml_fuzz.core.dtypes import Array

_LANES = 64


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)


def rms_norm(x: Tensor, gamma: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gamma


def _residuals() -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """What MiniLM's layer norms take, of as many channels as smaller models have."""
    return [
        (
            recorded("residual", n, layer)[0, :, : 320 - 64 * n],
            weight("gamma", layer)[: 320 - 64 * n],
            weight("beta", layer)[: 320 - 64 * n],
            1e-12,
        )
        for n in BATCHES
        for layer in LAYERS
    ]


def _queries() -> list[tuple[Tensor, Tensor, float]]:
    """Heads of queries, as attention with normed queries and keys has them."""
    return [(recorded("q", n, layer)[0], weight("gamma", layer)[:32], 1e-6) for n in BATCHES for layer in LAYERS]


SUBJECTS = (
    Subject("opencl layer norm", "normalisation", layer_norm, _residuals),
    Subject("opencl rms norm", "normalisation", rms_norm, _queries),
)

_TOTAL = """
#define LANES 64

float total(local float *partial, float value) {
    int lane = LOCAL(0);
    partial[lane] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step) partial[lane] += partial[lane + step];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    float found = partial[0];
    barrier(CLK_LOCAL_MEM_FENCE); // before the next sum goes there
    return found;
}
"""

# Lanes beyond the row's end come along in every chunk, so that loads could be vectors.
_LAYER_NORM = f"""{_TOTAL}
kernel void layer_norm(
    global T *y, global const T *x, global const T *gamma, global const T *beta, int width, float eps
) {{
    local float partial[LANES];
    int lane = LOCAL(0);
    long start = (long)GROUP(0) * width;
    float sum = 0;
    for (int first = 0; first < width; first += LANES) {{
        int i = first + lane;
        sum += i < width ? LOAD(x, start + i) : 0;
    }}
    float mean = total(partial, sum) / width;
    float squares = 0;
    for (int first = 0; first < width; first += LANES) {{
        int i = first + lane;
        float deviation = i < width ? LOAD(x, start + i) - mean : 0;
        squares += deviation * deviation;
    }}
    float variance = total(partial, squares) / width;
    float scale = 1 / sqrt(variance + eps);
    for (int i = lane; i < width; i += LANES) {{
        STORE(y, start + i, (LOAD(x, start + i) - mean) * scale * LOAD(gamma, i) + LOAD(beta, i));
    }}
}}
"""

# Four elements a lane and step; what four does not divide is left to the first lanes.
_RMS_NORM = f"""{_TOTAL}
kernel void rms_norm(global float *y, global const float *x, global const float *gamma, int width, float eps) {{
    local float partial[LANES];
    int lane = LOCAL(0), vectors = width / 4;
    x += (long)GROUP(0) * width;
    y += (long)GROUP(0) * width;
    float squares = 0;
    for (int i = lane; i < vectors; i += LANES) {{
        float4 v = vload4(i, x);
        squares += dot(v, v);
    }}
    for (int i = 4 * vectors + lane; i < width; i += LANES) squares += x[i] * x[i];
    float scale = 1 / sqrt(total(partial, squares) / width + eps);
    for (int i = lane; i < vectors; i += LANES) vstore4(vload4(i, x) * scale * vload4(i, gamma), i, y);
    for (int i = 4 * vectors + lane; i < width; i += LANES) y[i] = x[i] * scale * gamma[i];
}}
"""


def _rows(x: Array) -> int:
    return x.size // x.shape[-1] if x.shape[-1] else 0


def _layer_norm(device: Device, x: Array, gamma: Array, beta: Array, eps: float) -> Array:
    y = device.new(x.shape, x.dtype)
    given = (device.put(x), device.put(gamma), device.put(beta), x.shape[-1], eps)
    device.run("layer_norm", (_rows(x),), (_LANES,), y, *given)
    return device.get(y, x.shape, x.dtype)


def _rms_norm(device: Device, x: Array, gamma: Array, eps: float) -> Array:
    y = device.new(x.shape, x.dtype)
    device.run("rms_norm", (_rows(x),), (_LANES,), y, device.put(x), device.put(gamma), x.shape[-1], eps)
    return device.get(y, x.shape, x.dtype)


layer_norm_kernel = OpenCLKernel(_LAYER_NORM, _layer_norm)
rms_norm_kernel = OpenCLKernel(_RMS_NORM, _rms_norm)


FAULTS = (
    planted(
        "opencl layer norm mean of squares", "opencl layer norm", layer_norm_kernel,
        layer_norm_kernel.but("LOAD(x, start + i) - mean : 0", "LOAD(x, start + i) : 0").but(
            "total(partial, squares) / width", "total(partial, squares) / width - mean * mean"
        ),
        origin="https://github.com/openvinotoolkit/openvino/pull/36587", reveals="activations",
    ),
    planted(
        "opencl layer norm padded lanes deviate", "opencl layer norm", layer_norm_kernel,
        layer_norm_kernel.but(
            "i < width ? LOAD(x, start + i) - mean : 0", "(i < width ? LOAD(x, start + i) : 0) - mean"
        ),
        origin="zeros that a row is padded with are no deviation of zero: each adds mean^2 to the variance",
        reveals="shapes", dtypes=("", "float16"),
    ),
    planted(
        "opencl layer norm barrier missing", "opencl layer norm", layer_norm_kernel,
        layer_norm_kernel.but("barrier(CLK_LOCAL_MEM_FENCE); // before the next sum goes there", ""),
        origin="https://github.com/ROCm/composable_kernel/pull/323",
    ),
    planted(
        "opencl rms norm tail not squared", "opencl rms norm", rms_norm_kernel,
        rms_norm_kernel.but("squares += x[i] * x[i];", "squares += x[i];"),
        origin="https://github.com/ggml-org/llama.cpp/pull/28027", reveals="shapes",
    ),
    planted(
        "opencl rms norm tail not written", "opencl rms norm", rms_norm_kernel,
        rms_norm_kernel.but(
            "    for (int i = 4 * vectors + lane; i < width; i += LANES) y[i] = x[i] * scale * gamma[i];\n", ""
        ),
        origin="https://github.com/ggml-org/llama.cpp/pull/15560", reveals="shapes",
    ),
    planted(
        "opencl rms norm over padded width", "opencl rms norm", rms_norm_kernel,
        rms_norm_kernel.but("squares) / width + eps", "squares) / ((width + 3) / 4 * 4) + eps"),
        origin="the mean is taken over a width rounded up to whole vectors", reveals="shapes",
    ),
)  # fmt: skip
