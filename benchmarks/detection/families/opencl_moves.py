"""Data in motion in OpenCL C: a transpose through tiles, embedding, a causal mask."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LOWEST, recorded
from benchmarks.detection.model import Subject
from benchmarks.detection.opencl import Device, OpenCLKernel, ceil_div, planted
from tapml_fuzz.core.dtypes import Array

_TILE, _BLOCK = 16, 64


def causal(x: Tensor) -> Tensor:
    """Scores [heads, queries, keys], the last query seeing every key; what is in the future gets the lowest number."""
    queries, keys = x.shape[-2:]
    future = torch.ones(queries, keys, dtype=torch.bool).triu(1 + keys - queries)
    return x.masked_fill(future, LOWEST)


def _attended() -> list[tuple[Tensor]]:
    """Scores before softmax, of a whole prompt."""
    return [(recorded("q", n, 5)[0] @ recorded("k", n, 5)[0].transpose(-1, -2),) for n in BATCHES]


SUBJECTS = (Subject("opencl causal", "movement", causal, _attended, moves=True),)

# A work-item loads an element of the input's tile and stores one of the output's.
_TRANSPOSE = """
#define TILE 16

kernel void transpose(global T *y, global const T *x, int rows, int columns) {
    local T tile[TILE][TILE + 1];
    int i = LOCAL(1), j = LOCAL(0);
    int first_row = GROUP(1) * TILE, first_column = GROUP(0) * TILE;
    x += (long)GROUP(2) * rows * columns;
    y += (long)GROUP(2) * rows * columns;
    bool inside = first_row + i < rows && first_column + j < columns;
    if (inside) tile[i][j] = x[(first_row + i) * columns + first_column + j];
    barrier(CLK_LOCAL_MEM_FENCE);
    bool wanted = first_row + j < rows && first_column + i < columns;
    if (wanted) y[(first_column + i) * rows + first_row + j] = tile[j][i];
}
"""
_EMBEDDING = """
kernel void embedding(global float *y, global const float *table, global const long *ids, int n, int width) {
    int i = GLOBAL(0);
    if (i >= n) return;
    uint at = (uint)ids[i / width] * width + i % width;
    y[i] = table[at];
}
"""
_CAUSAL = """
kernel void causal(global T *y, global const T *x, int n, int queries, int keys) {
    int i = GLOBAL(0);
    if (i >= n) return;
    int key = i % keys, query = i / keys % queries;
    STORE(y, i, key > query + keys - queries ? -FLT_MAX : LOAD(x, i));
}
"""


def _transpose(device: Device, x: Array, first: int, second: int) -> Array:
    """Of the last two axes."""
    *batch, rows, columns = x.shape
    shape = (*batch, columns, rows)
    y = device.new(shape, x.dtype)
    count = x.size // (rows * columns) if x.size else 0
    groups = (ceil_div(columns, _TILE), ceil_div(rows, _TILE), count)
    device.run("transpose", groups, (_TILE, _TILE, 1), y, device.put(x), rows, columns)
    return device.get(y, shape, x.dtype)


def _embedding(device: Device, table: Array, ids: Array, padding: int = -1) -> Array:
    shape = (*ids.shape, table.shape[1])
    y, n = device.new(shape, table.dtype), ids.size * table.shape[1]
    groups = (ceil_div(n, _BLOCK),)
    device.run("embedding", groups, (_BLOCK,), y, device.put(table), device.put(ids), n, table.shape[1])
    return device.get(y, shape, table.dtype)


def _causal(device: Device, x: Array) -> Array:
    y = device.new(x.shape, x.dtype)
    groups = (ceil_div(x.size, _BLOCK),)
    device.run("causal", groups, (_BLOCK,), y, device.put(x), x.size, x.shape[-2], x.shape[-1])
    return device.get(y, x.shape, x.dtype)


transpose = OpenCLKernel(_TRANSPOSE, _transpose)
embedding = OpenCLKernel(_EMBEDDING, _embedding)
causal_kernel = OpenCLKernel(_CAUSAL, _causal)


FAULTS = (
    planted(
        "opencl transpose edge items gone", "transpose", transpose,
        transpose.but("    if (wanted) y", "    if (inside && wanted) y"),
        origin="work-items outside the input's edge tile are done, though the output's edge is theirs",
        reveals="shapes",
    ),
    planted(
        "opencl transpose barrier missing", "transpose", transpose,
        transpose.but("    barrier(CLK_LOCAL_MEM_FENCE);\n", ""),
        origin="the barrier between loading a tile and storing it is missing",
    ),
    planted(
        "opencl embedding offset in 16 bits", "embedding vocabulary", embedding,
        embedding.but("uint at = ", "ushort at = "),
        origin="an offset into a table in 16 bits",
    ),
    planted(
        "opencl embedding ids as 32 bits", "embedding", embedding,
        embedding.but("global const long *ids", "global const int *ids"),
        origin="int64 indices bound to a kernel that reads int32",
    ),
    planted(
        "opencl causal mask hides the diagonal", "opencl causal", causal_kernel,
        causal_kernel.but("key > query + keys", "key >= query + keys"),
        origin="causal mask by >= for >",
    ),
    planted(
        "opencl causal mask from the first key", "opencl causal", causal_kernel,
        causal_kernel.but("key > query + keys - queries", "key > query"),
        origin="causal mask aligned to the first key, where a cache holds earlier ones", reveals="shapes",
        dtypes=("", "float16"),
    ),
)  # fmt: skip
