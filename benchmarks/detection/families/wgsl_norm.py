"""Layer norm and RMS norm in WGSL: one workgroup a row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, recorded, weight
from benchmarks.detection.model import Fault, Subject
from benchmarks.detection.wgsl import MOST_GROUPS, POLICY, Launch, WgslKernel, ceil_div, folded
from tapml_fuzz.core.dtypes import Array


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)


def rms_norm(x: Tensor, gamma: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * gamma


def _residuals() -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """What MiniLM's layer norms take, outlier channels included."""
    return [
        (recorded("residual", batch, layer), weight("gamma", layer), weight("beta", layer), 1e-12)
        for batch in BATCHES
        for layer in LAYERS
    ]


def _narrow() -> list[tuple[Tensor, Tensor, float]]:
    """Rows of other widths, as the query and key norms of attention have them."""
    cut = ((0, 64), (1, 128), (2, 96))
    return [
        (recorded("residual", batch, layer)[..., :width].clone(), weight("gamma", layer)[:width].clone(), 1e-6)
        for batch, width in cut
        for layer in LAYERS
    ]


SUBJECTS = (
    Subject("wgsl layer norm", "normalisation", layer_norm, _residuals),
    Subject("wgsl rms norm", "normalisation", rms_norm, _narrow),
)

_LAYER_NORM = """
const LANES = 32u;
struct Sizes { rows: u32, width: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<uniform> sizes: Sizes;
var<workgroup> partial: array<f32, LANES>;

fn total(lane: u32, value: f32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) { partial[lane] += partial[lane + half]; }
        workgroupBarrier();
    }
    let found = partial[0];
    workgroupBarrier();
    return found;
}

@compute @workgroup_size(LANES)
fn layer_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if (row >= sizes.rows) { return; }
    let width = sizes.width;
    let start = row * width;
    var sum = 0.0;
    for (var i = lane; i < width; i += LANES) { sum += x[start + i]; }
    let mean = total(lane, sum) / f32(width);
    var squares = 0.0;
    for (var i = lane; i < width; i += LANES) {
        let d = x[start + i] - mean;
        squares += d * d;
    }
    let variance = total(lane, squares) / f32(width);
    let scale = inverseSqrt(variance + sizes.eps);
    for (var i = lane; i < width; i += LANES) {
        y[start + i] = (x[start + i] - mean) * scale * gamma[i] + beta[i];
    }
}
"""

# Four elements a lane and step. The host pads every row to a multiple of four with zeros, which add nothing.
_RMS_NORM = """
struct Sizes { rows: u32, width: u32, quads: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
var<workgroup> partial: array<f32, 32>;

@compute @workgroup_size(32)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if (row >= sizes.rows) { return; }
    var squares = 0.0;
    for (var i = lane; i < sizes.quads; i += 32u) {
        let v = x[row * sizes.quads + i];
        squares += dot(v, v);
    }
    partial[lane] = squares;
    workgroupBarrier();
    for (var half = 16u; half > 0u; half /= 2u) {
        if (lane < half) { partial[lane] += partial[lane + half]; }
        workgroupBarrier();
    }
    let scale = inverseSqrt(partial[0] / f32(sizes.width) + sizes.eps);
    for (var i = lane; i < sizes.width; i += 32u) {
        let v = x[row * sizes.quads + i / 4u][i % 4u];
        y[row * sizes.width + i] = v * scale * gamma[i];
    }
}
"""


def _layer_norm_launch(x: Array, gamma: Array, beta: Array, eps: float) -> Launch:
    """Buffers come in multiples of 256 bytes, as many allocators give them."""
    width = x.shape[-1]
    rows = x.size // width if width else 0
    return Launch((x, gamma, beta), x.shape, x.dtype, folded(rows), (rows, width, float(eps)), multiple=256)


def _rms_norm_launch(x: Array, gamma: Array, eps: float, *, fold: bool = True) -> Launch:
    """With `fold`, workgroups beyond the limit in x go into y."""
    width = x.shape[-1]
    rows = x.size // width if width else 0
    quads = ceil_div(width, 4)
    padded = np.zeros((rows, quads * 4), x.dtype)
    padded[:, :width] = x.reshape(rows, width)
    groups = folded(rows) if fold else (min(rows, MOST_GROUPS), 1)
    return Launch((padded, gamma), x.shape, x.dtype, groups, (rows, width, quads, float(eps)), multiple=16)


wgsl_layer_norm = WgslKernel(_LAYER_NORM, _layer_norm_launch)
wgsl_rms_norm = WgslKernel(_RMS_NORM, _rms_norm_launch)


def _fault(name: str, subject: str, correct: WgslKernel, faulty: WgslKernel, **about: Any) -> Fault:
    return Fault(
        name, subject, faulty, correct, written="wgsl", arrays="numpy", policy=POLICY, needs=("wgpu",), strided=False,
        **about,
    )  # fmt: skip


FAULTS = (
    _fault(
        "wgsl layer norm variance by moments", "wgsl layer norm", wgsl_layer_norm,
        wgsl_layer_norm.but(
            """let d = x[start + i] - mean;
        squares += d * d;
    }
    let variance = total(lane, squares) / f32(width);""",
            """let d = x[start + i];
        squares += d * d;
    }
    let variance = max(total(lane, squares) / f32(width) - mean * mean, 0.0);""",
        ),
        origin="https://github.com/pytorch/executorch/pull/20845", reveals="activations",
    ),
    _fault(
        "wgsl layer norm divides by buffer length", "wgsl layer norm", wgsl_layer_norm,
        wgsl_layer_norm.but("total(lane, sum) / f32(width)", "total(lane, sum) / f32(arrayLength(&gamma))"),
        origin="arrayLength counts what is bound, and an allocator rounds that up", reveals="shapes",
    ),
    _fault(
        "wgsl layer norm halving 48 lanes", "wgsl layer norm", wgsl_layer_norm,
        wgsl_layer_norm.but("const LANES = 32u;", "const LANES = 48u;"),
        origin="a tree reduction by halves loses a lane where their number is odd",
    ),
    _fault(
        "wgsl layer norm without eps", "wgsl layer norm", wgsl_layer_norm,
        wgsl_layer_norm.but("inverseSqrt(variance + sizes.eps)", "inverseSqrt(variance)"),
        origin="eps left out: 0 * inf where all elements of a row are equal", reveals="structure",
    ),
    _fault(
        "wgsl rms norm tail of four", "wgsl rms norm", wgsl_rms_norm,
        wgsl_rms_norm.but("i < sizes.quads; i += 32u", "i < sizes.width / 4u; i += 32u"),
        origin="https://github.com/microsoft/onnxruntime/pull/25092", reveals="shapes",
    ),
    _fault(
        "wgsl rms norm one step a lane", "wgsl rms norm", wgsl_rms_norm,
        wgsl_rms_norm.but("i < sizes.quads; i += 32u", "i < min(sizes.quads, 32u); i += 32u"),
        origin="one element a lane, for widths up to 4 * 32 only", reveals="shapes",
    ),
    _fault(
        "wgsl rms norm eps outside root", "wgsl rms norm", wgsl_rms_norm,
        wgsl_rms_norm.but(
            "inverseSqrt(partial[0] / f32(sizes.width) + sizes.eps)",
            "1.0 / (sqrt(partial[0] / f32(sizes.width)) + sizes.eps)",
        ),
        origin="eps added to the root mean square in place of the mean square",
    ),
    _fault(
        "wgsl rms norm beyond 65535 rows", "wgsl rms norm", wgsl_rms_norm,
        wgsl_rms_norm.launched(partial(_rms_norm_launch, fold=False)),
        origin="https://github.com/pytorch/executorch/pull/20583", reveals="shapes",
    ),
)  # fmt: skip
