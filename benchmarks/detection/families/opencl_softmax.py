"""Softmax, log-softmax and row sums in OpenCL C: one work-group a row, with tree reductions in local memory."""

from __future__ import annotations

from benchmarks.detection.opencl import Device, OpenCLKernel, planted
from tapml_fuzz.core.dtypes import Array

_LANES = 64

# Lanes walk the row in whole chunks; those beyond its end bring what is neutral. NaN passes `a > b || isnan(a)`.
_SOFTMAX = """
#define LANES 64
#define GREATER(a, b) ((a) > (b) || isnan(a) ? (a) : (b))

kernel void softmax(global T *y, global const T *x, int width) {
    local float partial[LANES];
    int lane = LOCAL(0);
    long start = (long)GROUP(0) * width;
    int chunks = (width + LANES - 1) / LANES;
    float top = -INFINITY;
    for (int chunk = 0; chunk < chunks; chunk++) {
        int i = chunk * LANES + lane;
        float value = i < width ? LOAD(x, start + i) : -INFINITY;
        top = GREATER(value, top);
    }
    partial[lane] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step) partial[lane] = GREATER(partial[lane], partial[lane + step]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    top = partial[0];
    barrier(CLK_LOCAL_MEM_FENCE); // before sums go there
    float sum = 0;
    for (int chunk = 0; chunk < chunks; chunk++) {
        int i = chunk * LANES + lane;
        if (i < width) sum += exp(LOAD(x, start + i) - top);
    }
    partial[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step) partial[lane] += partial[lane + step];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = lane; i < width; i += LANES) STORE(y, start + i, exp(LOAD(x, start + i) - top) / partial[0]);
}
"""

# One pass: every lane keeps a maximum and the sum of exponentials below it, and pairs of them are merged.
_LOG_SOFTMAX = """
#define LANES 64

float2 merged(float2 a, float2 b) {
    float top = a.x > b.x || isnan(a.x) ? a.x : b.x;
    if (top == -INFINITY) return a;
    return (float2)(top, a.y * exp(a.x - top) + b.y * exp(b.x - top));
}

kernel void log_softmax(global T *y, global const T *x, int width) {
    local float2 partial[LANES];
    int lane = LOCAL(0);
    long start = (long)GROUP(0) * width;
    float2 mine = (float2)(-INFINITY, 0);
    for (int i = lane; i < width; i += LANES) mine = merged(mine, (float2)(LOAD(x, start + i), 1));
    partial[lane] = mine;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step) partial[lane] = merged(partial[lane], partial[lane + step]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    float top = partial[0].x, shift = log(partial[0].y);
    for (int i = lane; i < width; i += LANES) STORE(y, start + i, LOAD(x, start + i) - top - shift);
}
"""

# Only lanes that hold something take part: any number of them, odd ones included.
_ROW_SUMS = """
#define LANES 64

kernel void row_sums(global T *y, global const T *x, int width) {
    local float partial[LANES];
    int lane = LOCAL(0);
    long start = (long)GROUP(0) * width;
    float sum = 0;
    for (int i = lane; i < width; i += LANES) sum += LOAD(x, start + i);
    partial[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int left = min(LANES, width); left > 1; left = (left + 1) / 2) {
        int step = (left + 1) / 2;
        if (lane < left / 2) partial[lane] += partial[lane + step];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0) STORE(y, GROUP(0), partial[0]);
}
"""


def _over_rows(name: str, device: Device, x: Array) -> Array:
    y = device.new(x.shape, x.dtype)
    width = x.shape[-1]
    device.run(name, (x.size // width if width else 0,), (_LANES,), y, device.put(x), width)
    return device.get(y, x.shape, x.dtype)


def _softmax(device: Device, x: Array, dim: int, half_to_float: bool) -> Array:
    return _over_rows("softmax", device, x)


def _log_softmax(device: Device, x: Array, dim: int, half_to_float: bool) -> Array:
    return _over_rows("log_softmax", device, x)


def _row_sums(device: Device, x: Array, dim: list[int], keepdim: bool) -> Array:
    shape = x.shape[:-1]
    y = device.new(shape, x.dtype)
    rows = 1
    for extent in shape:
        rows *= extent
    device.run("row_sums", (rows,), (_LANES,), y, device.put(x), x.shape[-1])
    return device.get(y, shape, x.dtype)


softmax = OpenCLKernel(_SOFTMAX, _softmax)
log_softmax = OpenCLKernel(_LOG_SOFTMAX, _log_softmax)
row_sums = OpenCLKernel(_ROW_SUMS, _row_sums)


FAULTS = (
    planted(
        "opencl softmax max from zero", "softmax", softmax,
        softmax.but("float top = -INFINITY;", "float top = 0;"),
        origin="https://github.com/FluxML/NNlib.jl/pull/43", reveals="activations", dtypes=("", "float16", "bfloat16"),
    ),
    planted(
        "opencl softmax tail lanes bring zero", "softmax", softmax,
        softmax.but("LOAD(x, start + i) : -INFINITY", "LOAD(x, start + i) : 0"),
        origin="lanes beyond the row's end take part in the maximum with the zero that they were padded with",
        reveals="activations",
    ),
    planted(
        "opencl softmax whole chunks only", "softmax", softmax,
        softmax.but("int chunks = (width + LANES - 1) / LANES;", "int chunks = max(width / LANES, 1);"),
        origin="https://github.com/1bit-MONSTER/1bit-MONSTER/issues/301", reveals="shapes",
    ),
    planted(
        "opencl softmax barrier missing before reuse", "softmax", softmax,
        softmax.but("barrier(CLK_LOCAL_MEM_FENCE); // before sums go there", ""),
        origin="https://github.com/ROCm/composable_kernel/pull/323",
    ),
    planted(
        "opencl log-softmax finite for infinity", "log_softmax", log_softmax,
        log_softmax.but("float2 mine = (float2)(-INFINITY, 0);", "float2 mine = (float2)(-5e4f, 0);"),
        origin="https://github.com/flashinfer-ai/flashinfer/issues/4267", reveals="activations",
    ),
    planted(
        "opencl log-softmax merges empty lanes", "log_softmax", log_softmax,
        log_softmax.but("if (top == -INFINITY) return a;", ""),
        origin="two lanes beyond a short row's end are merged: exp(-inf + inf)", reveals="shapes",
    ),
    planted(
        "opencl row sum of a power of two lanes", "row sums", row_sums,
        row_sums.but("int step = (left + 1) / 2;", "int step = left / 2;"),
        origin="https://github.com/karpathy/llm.c/pull/439", reveals="shapes",
    ),
)  # fmt: skip
