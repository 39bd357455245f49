"""Matrix products in OpenCL C: tiles of 16 by 16 in local memory, in float32 and in int8."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, recorded, weight
from benchmarks.detection.model import Subject
from benchmarks.detection.opencl import Device, OpenCLKernel, ceil_div, planted
from tapml_fuzz.core.dtypes import Array

_TILE = 16


def int8_linear(x: Tensor, w: Tensor) -> Tensor:
    """[m, k] by [n, k] into int32."""
    return (x.long() @ w.long().T).int()


def _layers() -> list[tuple[Tensor, Tensor]]:
    """Hidden states by a part of the intermediate layer's weight, [s, k] by [k, n]."""
    return [
        (recorded("normed", n, 5)[0, :, :k], weight("weight", 5)[:w, :k].T.contiguous())
        for n, k, w in ((0, 64, 48), (1, 48, 64), (2, 80, 32), (1, 96, 40))
    ]


def _scores() -> list[tuple[Tensor, Tensor]]:
    """Queries by keys, [heads, s, d] each."""
    return [(recorded("q", n, 1)[0], recorded("k", n, 1)[0]) for n in BATCHES]


def _quantised() -> list[tuple[Tensor, Tensor]]:
    def rounded(t: Tensor) -> Tensor:
        return (t * (127 / t.abs().amax())).round().to(torch.int8)

    return [(rounded(x), rounded(w.T).contiguous()) for x, w in _layers()]


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2)


SUBJECTS = (
    Subject("opencl matmul", "matmul", "aten.mm.default", _layers),
    Subject("opencl scores", "matmul", scores, _scores),
    Subject("opencl int8 linear", "quantisation", int8_linear, _quantised),
)

# Elements beyond an edge are loaded as zeros.
_MATMUL = """
#define TILE 16

kernel void matmul(global T *y, global const T *a, global const T *b, int rows, int depth, int columns) {
    local float left[TILE][TILE], right[TILE][TILE];
    int i = LOCAL(1), j = LOCAL(0);
    int row = GROUP(1) * TILE + i, column = GROUP(0) * TILE + j;
    float sum = 0;
    for (int first = 0; first < depth; first += TILE) {
        left[i][j] = row < rows && first + j < depth ? LOAD(a, row * depth + first + j) : 0;
        right[i][j] = first + i < depth && column < columns ? LOAD(b, (first + i) * columns + column) : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        float tile = 0;
        for (int k = 0; k < TILE; k++) tile += left[i][k] * right[k][j];
        sum += tile;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (row < rows && column < columns) STORE(y, row * columns + column, sum);
}
"""

# Tiles hold what there is, and the last product is as long as what is left.
_SCORES = """
#define TILE 16

kernel void scores(global float *y, global const float *q, global const float *k, int rows, int columns, int depth) {
    local float left[TILE][TILE], right[TILE][TILE];
    int i = LOCAL(1), j = LOCAL(0);
    int row = GROUP(1) * TILE + i, column = GROUP(0) * TILE + j, key = GROUP(0) * TILE + i;
    q += (long)GROUP(2) * rows * depth;
    k += (long)GROUP(2) * columns * depth;
    y += (long)GROUP(2) * rows * columns;
    float sum = 0;
    for (int first = 0; first < depth; first += TILE) {
        if (first + j < depth && row < rows) left[i][j] = q[row * depth + first + j];
        if (first + j < depth && key < columns) right[i][j] = k[key * depth + first + j];
        barrier(CLK_LOCAL_MEM_FENCE);
        int left_over = min(TILE, depth - first);
        for (int d = 0; d < left_over; d++) sum += left[i][d] * right[j][d];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (row < rows && column < columns) y[row * columns + column] = sum;
}
"""

# Products of two pairs at a time, as dot product instructions take them.
_INT8 = """
kernel void int8_linear(global int *y, global const char *x, global const char *w, int rows, int columns, int depth) {
    int column = GLOBAL(0), row = GLOBAL(1);
    if (row >= rows || column >= columns) return;
    int sum = 0;
    for (int k = 0; k < depth; k += 2) {
        int pair = x[row * depth + k] * w[column * depth + k];
        if (k + 1 < depth) pair += x[row * depth + k + 1] * w[column * depth + k + 1];
        sum += pair;
    }
    y[row * columns + column] = sum;
}
"""


def _matmul(device: Device, a: Array, b: Array, *, down: bool = False) -> Array:
    rows, depth, columns = *a.shape, b.shape[1]
    y = device.new((rows, columns), a.dtype)
    across = columns // _TILE if down else ceil_div(columns, _TILE)
    groups = (across, ceil_div(rows, _TILE))
    device.run("matmul", groups, (_TILE, _TILE), y, device.put(a), device.put(b), rows, depth, columns)
    return device.get(y, (rows, columns), a.dtype)


def _rounded_down(device: Device, a: Array, b: Array) -> Array:
    return _matmul(device, a, b, down=True)


def _batched(device: Device, q: Array, k: Array) -> Array:
    heads, rows, depth = q.shape
    columns = k.shape[1]
    y = device.new((heads, rows, columns), q.dtype)
    groups = (ceil_div(columns, _TILE), ceil_div(rows, _TILE), heads)
    device.run("scores", groups, (_TILE, _TILE, 1), y, device.put(q), device.put(k), rows, columns, depth)
    return device.get(y, (heads, rows, columns), q.dtype)


def _int8(device: Device, x: Array, w: Array) -> Array:
    rows, depth, columns = *x.shape, w.shape[0]
    y = device.new((rows, columns), "int32")
    groups = (ceil_div(columns, 32), rows)
    device.run("int8_linear", groups, (32, 1), y, device.put(x), device.put(w), rows, columns, depth)
    return device.get(y, (rows, columns), "int32")


matmul = OpenCLKernel(_MATMUL, _matmul)
scores_kernel = OpenCLKernel(_SCORES, _batched)
int8_kernel = OpenCLKernel(_INT8, _int8)


FAULTS = (
    planted(
        "opencl matmul left tile not zeroed", "opencl matmul", matmul,
        matmul.but("row < rows && first + j < depth ?", "row < rows ?"),
        origin="edge elements of one operand are zeroed, those of the other taken from its next row: inf times zero",
        reveals="specials",
    ),
    planted(
        "opencl matmul whole tiles of depth", "opencl matmul", matmul,
        matmul.but("first < depth;", "first + TILE <= depth;"),
        origin="https://github.com/1bit-MONSTER/1bit-MONSTER/issues/301", reveals="shapes",
    ),
    planted(
        "opencl matmul last tile only", "opencl matmul", matmul, matmul.but("sum += tile;", "sum = tile;"),
        origin="the accumulator is assigned in the loop over tiles: right for one tile", dtypes=("", "float16"),
    ),
    planted(
        "opencl matmul grid rounded down", "opencl matmul", matmul, matmul.hosted(_rounded_down),
        origin="https://github.com/NVIDIA/cuda-samples/issues/411", reveals="shapes",
    ),
    planted(
        "opencl scores stale tile", "opencl scores", scores_kernel,
        scores_kernel.but("int left_over = min(TILE, depth - first);", "int left_over = TILE;"),
        origin="https://github.com/modular/modular/pull/5701", reveals="shapes",
    ),
    planted(
        "opencl scores of square matrices", "opencl scores", scores_kernel,
        scores_kernel.but("key < columns) right", "key < rows) right"),
        origin="the bound of the other matrix in an edge tile: right for as many keys as queries", reveals="shapes",
    ),
    planted(
        "opencl int8 sum in 16 bits", "opencl int8 linear", int8_kernel,
        int8_kernel.but("int sum = 0;", "short sum = 0;"),
        origin="https://github.com/microsoft/BitNet/issues/629", reveals="activations",
    ),
    planted(
        "opencl int8 pair in 16 bits", "opencl int8 linear", int8_kernel,
        int8_kernel.but("int pair = ", "short pair = "),
        origin="https://github.com/microsoft/onnxruntime/issues/31573", reveals="specials",
    ),
)  # fmt: skip
