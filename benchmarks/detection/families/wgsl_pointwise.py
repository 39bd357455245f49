"""Activations and comparisons in WGSL: one invocation an element, or a word of packed ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, recorded, scores
from benchmarks.detection.model import Fault, Subject
from benchmarks.detection.wgsl import POLICY, Launch, WgslKernel, ceil_div, folded
from tapml_fuzz.core.dtypes import Array

_LANES = 64


def _inner() -> list[tuple[Tensor]]:
    """What MiniLM's gelu takes, -17 to 25 at most; widths that no block size divides among them."""
    widths = (160, 384, 90, 64, 201, 128)
    return [(x[0, :, :width].clone(),) for x, width in zip(every("inner"), widths, strict=True)]


def _thresholds() -> list[tuple[Tensor, Tensor]]:
    """Attention scores against each row's mean: a sparsified attention's comparison."""
    return [(s, s.clamp(min=-50).mean(-1, keepdim=True).expand_as(s).clone()) for s in map(_scores, BATCHES)]


def _scores(batch: int) -> Tensor:
    return scores(batch, LAYERS[0])


def _halves() -> list[tuple[Tensor]]:
    """Gate activations with an odd number of elements a row, so that rows begin in the middle of a word."""
    return [
        (recorded("inner", batch, layer)[..., :width].clone(),)
        for batch, width in zip(BATCHES, (75, 33, 51), strict=True)
        for layer in LAYERS
    ]


SUBJECTS = (
    Subject("wgsl tanh", "pointwise", "aten.tanh.default", _inner),
    Subject("wgsl gelu", "pointwise", "aten.gelu.default", _inner),
    Subject("wgsl silu", "pointwise", "aten.silu.default", _halves),
    Subject("wgsl greater", "arithmetic", "aten.gt.Tensor", _thresholds, moves=True),
)

_POINTWISE = """
struct Sizes { count: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
%s
@compute @workgroup_size(64)
fn apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    if (i >= sizes.count) { return; }
    y[i] = value(x[i]);
}
"""

# A least-maximum fit (relative error 2^-28) below 0.6; above, tanh(x) = 1 - 2 / (exp(2 x) + 1) cancels little.
_TANH = (
    _POINTWISE
    % """
fn value(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    let p = -0.333332986 + s * (0.133319244 + s * (-0.0537838302 + s * (0.0207959656 + s * -0.00589515175)));
    let small = x + x * s * p;
    let e = exp(2.0 * a);
    let large = sign(x) * (1.0 - 2.0 / (e + 1.0));
    return select(large, small, a < 0.6);
}
"""
)

# erf by Abramowitz and Stegun, 7.1.26: 1.5e-7 at most. For negative x the tail is what is computed, not 1 - (1 - tail).
_GELU = (
    _POINTWISE
    % """
fn value(x: f32) -> f32 {
    let a = abs(x) * 0.7071067811865476;
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let tail = p * exp(-a * a);
    return x * 0.5 * select(tail, 2.0 - tail, x > 0.0);
}
"""
)

# float16 without the f16 extension: two elements a word, computed in f32.
_SILU_HALF = """
struct Sizes { words: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(64)
fn silu(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * 64u;
    if (i >= sizes.words) { return; }
    let v = unpack2x16float(x[i]);
    y[i] = pack2x16float(v / (1.0 + exp(-v)));
}
"""

# Booleans have no storage in WGSL: four answers go into a word, the first in its lowest byte.
_GREATER = """
struct Sizes { count: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;

@compute @workgroup_size(64)
fn greater(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let word = id.x + id.y * groups.x * 64u;
    if (word * 4u >= sizes.count) { return; }
    var packed = 0u;
    for (var k = 0u; k < 4u; k++) {
        let i = word * 4u + k;
        if (i < sizes.count && a[i] > b[i]) { packed |= 1u << (8u * k); }
    }
    y[word] = packed;
}
"""


def _flat(x: Array, *, whole: bool = True) -> Launch:
    """One invocation an element; `whole` launches the last, incomplete workgroup too."""
    groups = ceil_div(x.size, _LANES) if whole else x.size // _LANES
    return Launch((x,), x.shape, x.dtype, folded(groups), (x.size,))


def _pairs(x: Array, *, whole: bool = True) -> Launch:
    """One invocation a word of two; `whole` counts the last word of an odd number of elements."""
    words = ceil_div(x.size, 2) if whole else x.size // 2
    return Launch((x,), x.shape, x.dtype, folded(ceil_div(words, _LANES)), (words,))


def _quads(a: Array, b: Array) -> Launch:
    groups = folded(ceil_div(a.size, 4 * _LANES))
    return Launch((a, b), a.shape, np.dtype(bool), groups, (a.size,), stored="uint8")


tanh = WgslKernel(_TANH, _flat)
gelu = WgslKernel(_GELU, _flat)
silu = WgslKernel(_SILU_HALF, _pairs)
greater = WgslKernel(_GREATER, _quads)


def _fault(name: str, subject: str, correct: WgslKernel, faulty: WgslKernel, **about: Any) -> Fault:
    return Fault(
        name, subject, faulty, correct, written="wgsl", arrays="numpy", policy=POLICY, needs=("wgpu",), strided=False,
        **about,
    )  # fmt: skip


FAULTS = (
    _fault(
        "wgsl tanh overflow", "wgsl tanh", tanh, tanh.but("(1.0 - 2.0 / (e + 1.0))", "((e - 1.0) / (e + 1.0))"),
        origin="https://github.com/apache/tvm/pull/16441", reveals="activations",
    ),
    _fault(
        "wgsl tanh clamped to 5", "wgsl tanh", tanh, tanh.but("exp(2.0 * a)", "exp(2.0 * min(a, 5.0))"),
        origin="https://github.com/ohdearquant/lattice/issues/924", reveals="activations",
    ),
    _fault(
        "wgsl tanh last workgroup missing", "wgsl tanh", tanh, tanh.launched(partial(_flat, whole=False)),
        origin="number of workgroups rounded down", reveals="shapes",
    ),
    _fault(
        "wgsl gelu select swapped", "wgsl gelu", gelu,
        gelu.but("select(tail, 2.0 - tail, x > 0.0)", "select(2.0 - tail, tail, x > 0.0)"),
        origin="WGSL, select(f, t, cond): the false value comes first, unlike in cond ? t : f",
    ),
    _fault(
        "wgsl gelu erf of three terms", "wgsl gelu", gelu,
        gelu.but(
            """1.0 / (1.0 + 0.3275911 * a);
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));""",
            """1.0 / (1.0 + 0.47047 * a);
    let p = t * (0.3480242 + t * (-0.0958798 + t * 0.7478556));""",
        ),
        origin="erf by Abramowitz and Stegun 7.1.25, which is good to 2.5e-5, for lack of an erf in WGSL",
    ),
    _fault(
        "wgsl silu half pair swapped", "wgsl silu", silu,
        silu.but("pack2x16float(v / (1.0 + exp(-v)))", "pack2x16float((v / (1.0 + exp(-v))).yx)"),
        origin="WGSL, pack2x16float: the first component goes into the lower half", dtypes=("float16",),
    ),
    _fault(
        "wgsl silu half odd count", "wgsl silu", silu, silu.launched(partial(_pairs, whole=False)),
        origin="number of 32-bit words rounded down for 16-bit data", reveals="shapes", dtypes=("float16",),
    ),
    _fault(
        "wgsl silu half overflow", "wgsl silu", silu,
        silu.but("v / (1.0 + exp(-v))", "v * exp(v) / (1.0 + exp(v))"),
        origin="https://github.com/mil-tokyo/webdnn/issues/558", reveals="activations", dtypes=("float16",),
    ),
    _fault(
        "wgsl greater packed as bits", "wgsl greater", greater, greater.but("1u << (8u * k)", "1u << k"),
        origin="https://github.com/tinygrad/tinygrad/pull/2646",
    ),
    _fault(
        "wgsl greater tail word", "wgsl greater", greater,
        greater.but("if (word * 4u >= sizes.count)", "if (word >= sizes.count / 4u)"),
        origin="number of packed words rounded down", reveals="shapes",
    ),
)  # fmt: skip
