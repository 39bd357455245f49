"""Data movement in WGSL: transpose, roll, gather, masks and an outer product, all about index arithmetic."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, scores, weight
from benchmarks.detection.model import Fault, Subject
from benchmarks.detection.wgsl import MOST_GROUPS, POLICY, Launch, WgslKernel, ceil_div, folded
from tapml_fuzz.core.dtypes import Array

_LANES = 64
_SHIFT = 5


def transposed(x: Tensor) -> Tensor:
    return x.transpose(-1, -2).clone(memory_format=torch.contiguous_format)


def causal(x: Tensor) -> Tensor:
    """Scores with what is to come hidden by the lowest number."""
    later = torch.ones(x.shape[-2:], dtype=torch.bool).triu(1)
    return x.masked_fill(later, torch.finfo(torch.float32).min)


def angles(positions: Tensor, frequencies: Tensor) -> Tensor:
    """The angles of rotary embeddings."""
    return positions[:, None] * frequencies


def _states() -> list[tuple[Tensor]]:
    return [(x[:, :, : 24 + 8 * n].clone(),) for n, x in enumerate(every("normed"))]


def _rolled() -> list[tuple[Tensor, list[int], list[int]]]:
    """Tokens shifted as in a model of shifted windows."""
    return [(x[0, :, : 40 + 8 * n].T.clone(), [_SHIFT], [1]) for n, x in enumerate(every("normed"))]


def _looked_up() -> list[tuple[Tensor, list[Tensor]]]:
    heights = (64, 96, 80)
    return [(weight("embedding")[:n, :64].clone(), [ids % n]) for n, ids in zip(heights, every("ids"), strict=True)]


def _attended() -> list[tuple[Tensor]]:
    return [(scores(batch, layer)[:, 0].clone(),) for batch in BATCHES for layer in LAYERS]


def _positions() -> list[tuple[Tensor, Tensor]]:
    """Positions of a sequence, and the frequencies of heads 128 wide."""
    frequencies = 10000.0 ** (-torch.arange(0, 128, 2).float() / 128)
    return [(torch.arange(n).float(), frequencies) for n in (14, 22, 100)]


SUBJECTS = (
    Subject("wgsl transpose", "movement", transposed, _states, moves=True),
    Subject("wgsl roll", "movement", "aten.roll.default", _rolled, moves=True),
    Subject("wgsl lookup", "indexing", "aten.index.Tensor", _looked_up, moves=True),
    Subject("wgsl causal", "movement", causal, _attended, moves=True),
    Subject("wgsl angles", "rope", angles, _positions),
)

_TRANSPOSE = """
const TILE = 16u;
struct Sizes { rows: u32, columns: u32, batches: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
var<workgroup> tile: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(TILE, TILE)
fn transpose(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) at: vec3<u32>,
) {
    for (var batch = group.z; batch < sizes.batches; batch += groups.z) {
        let first = batch * sizes.rows * sizes.columns;
        let row = group.y * TILE + at.y;
        let column = group.x * TILE + at.x;
        if (row < sizes.rows && column < sizes.columns) {
            tile[at.y][at.x] = x[first + row * sizes.columns + column];
        }
        workgroupBarrier();
        let to_row = group.x * TILE + at.y;
        let to_column = group.y * TILE + at.x;
        if (to_row < sizes.columns && to_column < sizes.rows) {
            y[first + to_row * sizes.rows + to_column] = tile[at.x][at.y];
        }
        workgroupBarrier(); // before the next batch
    }
}
"""

_ROLL = """
struct Sizes { count: u32, width: i32, shift: i32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(64)
fn roll(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    if (i >= sizes.count) { return; }
    let n = sizes.width;
    let column = i32(i) % n;
    let source = ((column - sizes.shift) % n + n) % n;
    y[i] = x[i32(i) - column + source];
}
"""

_LOOKUP = """
struct Sizes { count: u32, width: u32, rows: i32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

@compute @workgroup_size(64)
fn lookup(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    if (i >= sizes.count) { return; }
    var row = ids[i / sizes.width];
    if (row < 0) { row += sizes.rows; }
    y[i] = table[u32(row) * sizes.width + i % sizes.width];
}
"""

# The clamp is what implementations add where a shader has no guard, so that nothing outside a buffer is touched.
_CAUSAL = """
const LOWEST = -0x1.fffffep+127f;
struct Sizes { queries: u32, keys: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(64)
fn causal(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    let at = min(i, arrayLength(&y) - 1u);
    if (at != i) { return; }
    let key = i % sizes.keys;
    let query = i / sizes.keys % sizes.queries;
    y[at] = select(x[at], LOWEST, key > query);
}
"""

# One invocation a workgroup, as ports of plain loops begin.
_ANGLES = """
struct Sizes { count: u32, width: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> positions: array<f32>;
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

@compute @workgroup_size(1)
fn angles(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = group.x + group.y * groups.x;
    if (i >= sizes.count) { return; }
    y[i] = positions[i / sizes.width] * frequencies[i % sizes.width];
}
"""


def _transpose(x: Array) -> Launch:
    *batches, rows, columns = x.shape
    count = x.size // (rows * columns) if x.size else 0
    groups = (ceil_div(columns, 16), ceil_div(rows, 16), ceil_div(count, 64))
    return Launch((x,), (*batches, columns, rows), x.dtype, groups, (rows, columns, count))


def _roll(x: Array, shifts: list[int], dims: list[int]) -> Launch:
    return Launch((x,), x.shape, x.dtype, folded(ceil_div(x.size, _LANES)), (x.size, x.shape[1], shifts[0]))


def _lookup(table: Array, indices: list[Array]) -> Launch:
    ids = indices[0].astype("int32")
    rows, width = table.shape
    count = ids.size * width
    groups = folded(ceil_div(count, _LANES))
    return Launch((table, ids), (*ids.shape, width), table.dtype, groups, (count, width, rows))


def _causal(x: Array) -> Launch:
    return Launch((x,), x.shape, x.dtype, folded(ceil_div(x.size, _LANES)), x.shape[-2:])


def _angles(positions: Array, frequencies: Array, *, fold: bool = True) -> Launch:
    """With `fold`, workgroups beyond the limit in x go into y."""
    count, width = positions.size * frequencies.size, frequencies.size
    groups = folded(count) if fold else (min(count, MOST_GROUPS), 1)
    return Launch((positions, frequencies), (positions.size, width), positions.dtype, groups, (count, width))


transpose = WgslKernel(_TRANSPOSE, _transpose)
roll = WgslKernel(_ROLL, _roll)
lookup = WgslKernel(_LOOKUP, _lookup)
causal_mask = WgslKernel(_CAUSAL, _causal)
rope_angles = WgslKernel(_ANGLES, _angles)


def _fault(name: str, subject: str, correct: WgslKernel, faulty: WgslKernel, **about: Any) -> Fault:
    return Fault(
        name, subject, faulty, correct, written="wgsl", arrays="numpy", policy=POLICY, needs=("wgpu",), strided=False,
        **about,
    )  # fmt: skip


FAULTS = (
    _fault(
        "wgsl transpose guard untransposed", "wgsl transpose", transpose,
        transpose.but("to_row < sizes.columns && to_column < sizes.rows", "row < sizes.rows && column < sizes.columns"),
        origin="the store of a tiled transpose guarded by the load's row and column",
    ),
    _fault(
        "wgsl transpose barrier missing", "wgsl transpose", transpose,
        transpose.but("        workgroupBarrier(); // before the next batch\n", ""),
        origin="https://github.com/microsoft/onnxruntime/pull/23663",
    ),
    _fault(
        "wgsl roll modulo of negative", "wgsl roll", roll,
        roll.but("((column - sizes.shift) % n + n) % n", "(column - sizes.shift) % n"),
        origin="WGSL, 8.7: % takes the sign of the dividend",
    ),
    _fault(
        "wgsl roll unsigned wrap", "wgsl roll", roll,
        roll.but("((column - sizes.shift) % n + n) % n", "i32(u32(column - sizes.shift) % u32(n))"),
        origin="u32 arithmetic wraps at 2^32, which is right modulo powers of two only",
    ),
    _fault(
        "wgsl roll shift beyond width", "wgsl roll", roll,
        roll.but("((column - sizes.shift) % n + n) % n", "(column - sizes.shift + n) % n"),
        origin="the width added once, where the shift may exceed it", reveals="shapes",
    ),
    _fault(
        "wgsl lookup negative index", "wgsl lookup", lookup, lookup.but("if (row < 0) { row += sizes.rows; }", ""),
        origin="https://github.com/microsoft/onnxruntime/pull/1380", reveals="structure",
    ),
    _fault(
        "wgsl causal store clamped", "wgsl causal", causal_mask, causal_mask.but("    if (at != i) { return; }\n", ""),
        origin="https://github.com/gpuweb/gpuweb/issues/1202",
    ),
    _fault(
        "wgsl causal select swapped", "wgsl causal", causal_mask,
        causal_mask.but("select(x[at], LOWEST, key > query)", "select(LOWEST, x[at], key > query)"),
        origin="WGSL, select(f, t, cond): the false value comes first, unlike in cond ? t : f",
    ),
    _fault(
        "wgsl angles beyond 65535 workgroups", "wgsl angles", rope_angles,
        rope_angles.launched(partial(_angles, fold=False)),
        origin="https://github.com/ggml-org/llama.cpp/pull/19965", reveals="shapes",
    ),
)  # fmt: skip
