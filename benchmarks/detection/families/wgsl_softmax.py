"""Softmax and log-softmax in WGSL: one workgroup a row, with reductions in workgroup memory."""

from __future__ import annotations

from typing import Any

from benchmarks.detection.model import Fault
from benchmarks.detection.wgsl import POLICY, Launch, WgslKernel, folded
from tapml_fuzz.core.dtypes import Array

# 32 lanes walk the row in strides of 32, whole chunks at a time, so that every barrier is met by all of them.
_HEAD = """
const LANES = 32u;
const LOWEST = -0x1.fffffep+127f;
struct Sizes { rows: u32, width: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> sizes: Sizes;
var<workgroup> partial: array<f32, LANES>;
"""

_SOFTMAX = f"""{_HEAD}
fn greatest(lane: u32, value: f32) -> f32 {{
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {{
        if (lane < half) {{ partial[lane] = max(partial[lane], partial[lane + half]); }}
        workgroupBarrier();
    }}
    let found = partial[0];
    workgroupBarrier(); // before the next reduction writes there
    return found;
}}

fn total(lane: u32, value: f32) -> f32 {{
    partial[lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {{
        if (lane < half) {{ partial[lane] += partial[lane + half]; }}
        workgroupBarrier();
    }}
    return partial[0];
}}

@compute @workgroup_size(32)
fn softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {{
    let row = group.x + group.y * groups.x;
    if (row >= sizes.rows) {{ return; }}
    let start = row * sizes.width;
    var top = LOWEST;
    for (var first = 0u; first < sizes.width; first += LANES) {{
        let i = first + lane;
        if (i < sizes.width) {{ top = max(top, x[start + i]); }}
    }}
    top = greatest(lane, top);
    var sum = 0.0;
    for (var first = 0u; first < sizes.width; first += LANES) {{
        let i = first + lane;
        let value = select(LOWEST, x[start + i], i < sizes.width);
        sum += select(0.0, exp(value - top), i < sizes.width);
    }}
    sum = total(lane, sum);
    for (var i = lane; i < sizes.width; i += LANES) {{
        y[start + i] = exp(x[start + i] - top) / sum;
    }}
}}
"""

# The first 1,024 elements of a row are read once and kept.
_LOG_SOFTMAX = f"""{_HEAD}
const KEPT = 1024u;
var<workgroup> kept: array<f32, KEPT>;

fn element(start: u32, i: u32) -> f32 {{
    if (i < KEPT) {{ return kept[i]; }}
    return x[start + i];
}}

@compute @workgroup_size(32)
fn log_softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {{
    let row = group.x + group.y * groups.x;
    if (row >= sizes.rows) {{ return; }}
    let start = row * sizes.width;
    for (var i = lane; i < min(sizes.width, KEPT); i += LANES) {{ kept[i] = x[start + i]; }}
    var top = LOWEST;
    for (var i = lane; i < sizes.width; i += LANES) {{ top = max(top, element(start, i)); }}
    partial[lane] = top;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {{
        if (lane < half) {{ partial[lane] = max(partial[lane], partial[lane + half]); }}
        workgroupBarrier();
    }}
    top = partial[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < sizes.width; i += LANES) {{ sum += exp(element(start, i) - top); }}
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {{
        if (lane < half) {{ partial[lane] += partial[lane + half]; }}
        workgroupBarrier(); // sums
    }}
    let shift = log(partial[0]);
    for (var i = lane; i < sizes.width; i += LANES) {{ y[start + i] = (element(start, i) - top) - shift; }}
}}
"""


def _rows(x: Array, dim: int, half_to_float: bool) -> Launch:
    width = x.shape[-1]
    rows = x.size // width if width else 0
    return Launch((x,), x.shape, x.dtype, folded(rows), (rows, width))


softmax = WgslKernel(_SOFTMAX, _rows)
log_softmax = WgslKernel(_LOG_SOFTMAX, _rows)


def _fault(name: str, subject: str, correct: WgslKernel, faulty: WgslKernel, **about: Any) -> Fault:
    return Fault(
        name, subject, faulty, correct, written="wgsl", arrays="numpy", policy=POLICY, needs=("wgpu",), strided=False,
        **about,
    )  # fmt: skip


FAULTS = (
    _fault(
        "wgsl softmax max from zero", "softmax", softmax,
        softmax.but("var top = LOWEST;", "var top = 0.0;"),
        origin="https://github.com/tensorflow/tfjs/pull/7588", reveals="structure",
    ),
    _fault(
        "wgsl softmax tail lanes not neutral", "softmax", softmax,
        softmax.but("select(0.0, exp(value - top), i < sizes.width)", "exp(value - top)"),
        origin="tail lanes hold the lowest number, which is neutral unless the row's maximum is that number too",
        reveals="structure",
    ),
    _fault(
        "wgsl softmax barrier missing", "softmax", softmax,
        softmax.but("    workgroupBarrier(); // before the next reduction writes there\n", ""),
        origin="https://github.com/microsoft/onnxruntime/pull/23663",
    ),
    _fault(
        "wgsl log-softmax row kept in 1024", "log_softmax", log_softmax,
        log_softmax.but("if (i < KEPT) { return kept[i]; }", "if (i < sizes.width) { return kept[i]; }"),
        origin="a row held in workgroup memory of fixed size", reveals="shapes",
    ),
    _fault(
        "wgsl log-softmax barrier missing", "log_softmax", log_softmax,
        log_softmax.but("        workgroupBarrier(); // sums\n", ""),
        origin="https://github.com/microsoft/onnxruntime/pull/23663",
    ),
    _fault(
        "wgsl log-softmax log of rounded probability", "log_softmax", log_softmax,
        log_softmax.but("(element(start, i) - top) - shift", "log(exp(element(start, i) - top) / partial[0])"),
        origin="log(softmax(x)) in place of x - logsumexp(x): -inf where the probability underflows",
        reveals="activations",
    ),
)  # fmt: skip
