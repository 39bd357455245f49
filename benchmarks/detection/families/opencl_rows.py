"""Along rows in OpenCL C: cumulative sums across work-groups, argmax."""

from __future__ import annotations

from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.model import Subject
from benchmarks.detection.opencl import Device, OpenCLKernel, ceil_div, planted
from tapml_fuzz.core.dtypes import Array

_BLOCK, _LANES = 32, 64


def _inner() -> list[tuple[Tensor, int]]:
    return [(t[0, :, : 160 + 16 * n], 1) for n, t in enumerate(every("inner"))]


def _logits() -> list[tuple[Tensor, int, bool]]:
    """The best token of each position."""
    return [(t[: 4 + n, : 1023 - 100 * n], -1, False) for n, t in enumerate(every("logits"))]


SUBJECTS = (
    Subject("opencl cumsum", "reductions", "aten.cumsum.default", _inner),
    Subject("opencl argmax", "reductions", "aten.argmax.default", _logits),
)

# Blocks of 32 are scanned (Hillis and Steele, between two buffers), then the blocks' totals, then both are added.
_CUMSUM = """
#define BLOCK 32

float scanned(local float (*buffer)[BLOCK], float value) {
    int lane = LOCAL(0), from = 0;
    buffer[0][lane] = value;
    for (int step = 1; step < BLOCK; step *= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        float found = buffer[from][lane];
        if (lane >= step) found += buffer[from][lane - step];
        from = 1 - from;
        buffer[from][lane] = found;
    }
    return buffer[from][lane];
}

kernel void blocks(global T *y, global float *totals, global const T *x, int width, int count) {
    local float buffer[2][BLOCK];
    int block = GROUP(0), i = block * BLOCK + LOCAL(0);
    long start = (long)GROUP(1) * width;
    float sum = scanned(buffer, i < width ? LOAD(x, start + i) : 0);
    if (i < width) STORE(y, start + i, sum);
    if (LOCAL(0) == BLOCK - 1) totals[GROUP(1) * count + block] = sum;
}

kernel void carries(global float *totals, int count) {
    local float buffer[2][BLOCK];
    totals += GROUP(1) * count;
    float carry = 0;
    for (int first = 0; first < count; first += BLOCK) {
        int i = first + LOCAL(0);
        float sum = scanned(buffer, i < count ? totals[i] : 0) + carry;
        if (i < count) totals[i] = sum;
        barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
        carry = totals[min(first + BLOCK, count) - 1];
    }
}

kernel void add_carries(global T *y, global const float *totals, int width, int count) {
    int block = GROUP(0), i = block * BLOCK + LOCAL(0);
    long at = (long)GROUP(1) * width + i;
    if (i < width && block > 0) STORE(y, at, LOAD(y, at) + totals[GROUP(1) * count + block - 1]);
}
"""

# Of equal values the first wins, and NaN wins over everything.
_ARGMAX = """
#define LANES 64

bool before(float a, int i, float b, int j) {
    if (isnan(a) || isnan(b)) return isnan(a) && (!isnan(b) || i < j);
    return a > b || (a == b && i < j);
}

kernel void argmax(global long *y, global const T *x, int width) {
    local float values[LANES];
    local int indices[LANES];
    int lane = LOCAL(0);
    long start = (long)GROUP(0) * width;
    float best = -INFINITY;
    int index = INT_MAX;
    for (int i = lane; i < width; i += LANES) {
        float value = LOAD(x, start + i);
        if (before(value, i, best, index)) { best = value; index = i; }
    }
    values[lane] = best;
    indices[lane] = index;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step && before(values[lane + step], indices[lane + step], values[lane], indices[lane])) {
            values[lane] = values[lane + step];
            indices[lane] = indices[lane + step];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0) y[GROUP(0)] = indices[0];
}
"""


def _cumsum(device: Device, x: Array, dim: int) -> Array:
    """Along the last axis."""
    rows, width = x.shape
    count = ceil_div(width, _BLOCK)
    y, totals = device.new(x.shape, x.dtype), device.new((rows, count), "float32")
    device.run("blocks", (count, rows), (_BLOCK, 1), y, totals, device.put(x), width, count)
    device.run("carries", (min(count, 1), rows), (_BLOCK, 1), totals, count)
    device.run("add_carries", (count, rows), (_BLOCK, 1), y, totals, width, count)
    return device.get(y, x.shape, x.dtype)


def _argmax(device: Device, x: Array, dim: int, keepdim: bool) -> Array:
    rows, width = x.shape
    y = device.new((rows,), "int64")
    device.run("argmax", (rows if width else 0,), (_LANES,), y, device.put(x), width)
    return device.get(y, (rows,), "int64")


cumsum = OpenCLKernel(_CUMSUM, _cumsum)
argmax = OpenCLKernel(_ARGMAX, _argmax)


FAULTS = (
    planted(
        "opencl cumsum carries of 32 blocks", "opencl cumsum", cumsum,
        cumsum.but("+ carry;", ";"),
        origin="totals of blocks are scanned by one work-group, 32 at a time: right for 1,024 elements",
        reveals="shapes",
    ),
    planted(
        "opencl cumsum in one buffer", "opencl cumsum", cumsum,
        cumsum.but("from = 1 - from;", ""),
        origin="a scan in place: neighbours are read that have been updated in the same step",
    ),
    planted(
        "opencl cumsum carry of the block before", "opencl cumsum", cumsum,
        cumsum.but("        if (i < count) totals[i] = sum;\n", ""),
        origin="the block before alone is carried on, its own carry left out: right for two blocks",
    ),
    planted(
        "opencl argmax passes over NaN", "opencl argmax", argmax,
        argmax.but("if (isnan(a) || isnan(b)) return isnan(a) && (!isnan(b) || i < j);", ""),
        origin="https://github.com/ml-explore/mlx/pull/4292", reveals="specials", dtypes=("", "float16"),
    ),
    planted(
        "opencl argmax from the lowest number", "opencl argmax", argmax,
        argmax.but("float best = -INFINITY;", "float best = -FLT_MAX;"),
        origin="a maximum that starts from the lowest finite number: no index for rows of -inf", reveals="specials",
    ),
    planted(
        "opencl argmax index of a lane", "opencl argmax", argmax,
        argmax.but("indices[lane] = indices[lane + step];", "indices[lane] = lane + step;"),
        origin="the tree reduction notes which lane won, in place of the index that the lane had found",
    ),
)  # fmt: skip
