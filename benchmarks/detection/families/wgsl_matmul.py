"""Products of matrices in WGSL: a linear layer in tiles of 16 x 16, and packed int8 dot products."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded, weight
from benchmarks.detection.model import Fault, Subject
from benchmarks.detection.wgsl import POLICY, Launch, WgslKernel, ceil_div
from tapml_fuzz.core.dtypes import Array

_TILE = 16


def int8_product(x: Tensor, weight: Tensor) -> Tensor:
    """int8 rows by int8 rows, gathered in int32."""
    return (x.long() @ weight.long().T).int()


def _layers() -> list[tuple[Tensor, Tensor, Tensor]]:
    """A part of MiniLM's intermediate layer on its hidden states, [s, k] by [n, k]."""
    cuts = ((64, 48), (96, 32), (80, 40), (48, 24))
    calls = [(batch, layer) for batch in BATCHES for layer in LAYERS]
    return [
        (
            recorded("normed", batch, layer)[0, :, :k].clone(),
            weight("weight", layer)[:n, :k].clone(),
            weight("bias", layer)[:n].clone(),
        )
        for (batch, layer), (k, n) in zip(calls, cuts, strict=False)
    ]


def _quantised() -> list[tuple[Tensor, Tensor]]:
    """The same rounded to 8 bits, symmetrically per tensor."""

    def rounded(x: Tensor) -> Tensor:
        return torch.round(x * (127 / x.abs().max())).to(torch.int8)

    return [(rounded(x), rounded(w)) for x, w, _ in _layers()]


SUBJECTS = (
    Subject("wgsl linear", "matmul", "aten.linear.default", _layers),
    Subject("wgsl int8 product", "quantisation", int8_product, _quantised),
)

_LINEAR = """
const TILE = 16u;
struct Sizes { m: u32, n: u32, k: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<uniform> sizes: Sizes;
var<workgroup> left: array<array<f32, TILE>, TILE>;
var<workgroup> right: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(TILE, TILE)
fn linear(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) at: vec3<u32>) {
    let row = tile.y * TILE + at.y;
    let column = tile.x * TILE + at.x;
    let loaded = tile.x * TILE + at.y; // the row of w that this invocation loads
    var sum = 0.0;
    for (var first = 0u; first < sizes.k; first += TILE) {
        let i = first + at.x;
        let inside = i < sizes.k;
        left[at.y][at.x] = select(0.0, x[row * sizes.k + i], row < sizes.m && inside);
        right[at.x][at.y] = select(0.0, w[loaded * sizes.k + i], loaded < sizes.n && inside);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j++) { sum += left[at.y][j] * right[j][at.x]; }
        workgroupBarrier(); // before the tiles are loaded anew
    }
    if (row < sizes.m && column < sizes.n) { y[row * sizes.n + column] = sum + bias[column]; }
}
"""

# One invocation an output, four products a step. The host pads k to whole words with zeros.
_INT8 = """
struct Sizes { m: u32, n: u32, words: u32, k: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<i32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

@compute @workgroup_size(8, 8)
fn product(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= sizes.n || id.y >= sizes.m) { return; }
    var sum = 0;
    for (var i = 0u; i < sizes.words; i++) {
        let a = x[id.y * sizes.words + i];
        let b = w[id.x * sizes.words + i];
        sum += dot4I8Packed(a, b);
    }
    y[id.y * sizes.n + id.x] = sum;
}
"""

# The same without the packed dot product, which not every implementation has.
_INT8_UNPACKED = _INT8.replace(
    "        sum += dot4I8Packed(a, b);\n",
    """        for (var shift = 0u; shift < 32u; shift += 8u) {
            sum += extractBits(bitcast<i32>(a), shift, 8u) * extractBits(bitcast<i32>(b), shift, 8u);
        }
""",
)


def _linear(x: Array, w: Array, bias: Array) -> Launch:
    (m, k), n = x.shape, w.shape[0]
    return Launch((x, w, bias), (m, n), x.dtype, (ceil_div(n, _TILE), ceil_div(m, _TILE)), (m, n, k))


def _int8(x: Array, w: Array) -> Launch:
    (m, k), n = x.shape, w.shape[0]
    words = ceil_div(k, 4)

    def padded(a: Array) -> Array:
        return np.pad(a, ((0, 0), (0, 4 * words - k)))

    groups = (ceil_div(n, 8), ceil_div(m, 8))
    return Launch((padded(x), padded(w)), (m, n), np.dtype(np.int32), groups, (m, n, words, k))


linear = WgslKernel(_LINEAR, _linear)
product = WgslKernel(_INT8, _int8)
unpacked = WgslKernel(_INT8_UNPACKED, _int8)


def _fault(name: str, subject: str, correct: WgslKernel, faulty: WgslKernel, **about: Any) -> Fault:
    return Fault(
        name, subject, faulty, correct, written="wgsl", arrays="numpy", policy=POLICY, needs=("wgpu",), strided=False,
        **about,
    )  # fmt: skip


FAULTS = (
    _fault(
        "wgsl linear k edge", "wgsl linear", linear,
        linear.but("let inside = i < sizes.k;", "let inside = true;"),
        origin="tiles loaded without a guard along k: the next row's elements are added in", reveals="shapes",
    ),
    _fault(
        "wgsl linear column edge", "wgsl linear", linear,
        linear.but("if (row < sizes.m && column < sizes.n)", "if (row < sizes.m)"),
        origin="no guard along n: columns beyond the last are written into the next row", reveals="shapes",
    ),
    _fault(
        "wgsl linear barrier missing", "wgsl linear", linear,
        linear.but("        workgroupBarrier(); // before the tiles are loaded anew\n", ""),
        origin="https://github.com/microsoft/onnxruntime/pull/23663",
    ),
    _fault(
        "wgsl linear k in whole tiles", "wgsl linear", linear,
        linear.but("first < sizes.k; first", "first < sizes.k / TILE * TILE; first"),
        origin="number of tiles along k rounded down", reveals="shapes",
    ),
    _fault(
        "wgsl int8 dot unsigned", "wgsl int8 product", product,
        product.but("sum += dot4I8Packed(a, b);", "sum += i32(dot4U8Packed(a, b));"),
        origin="dot4U8Packed for signed bytes",
    ),
    _fault(
        "wgsl int8 without sign extension", "wgsl int8 product", unpacked,
        unpacked.but("extractBits(bitcast<i32>(a), shift, 8u)", "i32(extractBits(a, shift, 8u))"),
        origin="WGSL, extractBits: sign-extends an i32 only",
    ),
    _fault(
        "wgsl int8 whole words", "wgsl int8 product", product,
        product.but("i < sizes.words; i++", "i < sizes.k / 4u; i++"),
        origin="number of packed words rounded down", reveals="shapes",
    ),
)  # fmt: skip
