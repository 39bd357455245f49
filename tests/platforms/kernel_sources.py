"""Kernel files written for tests: each does one thing, and a test may break it."""

from __future__ import annotations

from pathlib import Path

KERNELS = Path(__file__).parents[2] / "docs" / "kernels"

TRANSPOSE_CL = """\
// [tapml_fuzz]
// operator = "permute"
// dtypes = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
// kernel = "transpose"
// arguments = ["x0", "out0", { name = "rows", type = "i32", value = "a" }, { name = "n", type = "i32", value = "b" }]
// [tapml_fuzz.launch]
// global = ["a", "b"]
// [tapml_fuzz.defines]
// T = "type(x0)"
__kernel void transpose(__global const T *x, __global T *out, const int rows, const int n)
{
    out[get_global_id(1) * rows + get_global_id(0)] = x[get_global_id(0) * n + get_global_id(1)];
}
"""

COPY_CL = """\
// [tapml_fuzz]
// operator = "clone"
// dtypes = ["float32", "int32"]
// kernel = "copied"
// arguments = ["x0", "out0", { name = "n", type = "u32", value = "numel(out0)" }]
// [tapml_fuzz.launch]
// global = ["64 * ceildiv(numel(out0), 64)"]
// local = [64]
// [tapml_fuzz.defines]
// T = "type(out0)"
__kernel void copied(__global T *x, __global T *out, const uint n)
{
    const uint i = get_global_id(0);
    if (i < n)
        out[i] = x[i];
}
"""

TRANSPOSE_WGSL = """\
// [tapml_fuzz]
// operator = "permute"
// dtypes = ["float32", "float16", "int32"]
// kernel = "transpose"
// arguments = ["x0", "out0", { name = "rows", type = "i32", value = "a" }, { name = "n", type = "i32", value = "b" }]
// [tapml_fuzz.launch]
// workgroups = ["a", "b"]
// [tapml_fuzz.defines]
// T = "type(x0)"
struct Numbers { rows: i32, n: i32 }
@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> out: array<T>;
@group(0) @binding(2) var<uniform> numbers: Numbers;
@compute @workgroup_size(1)
fn transpose(@builtin(workgroup_id) at: vec3<u32>) {
    out[i32(at.y) * numbers.rows + i32(at.x)] = x[i32(at.x) * numbers.n + i32(at.y)];
}
"""

EMBEDDING_WGSL = """\
// [tapml_fuzz]
// operator = "embedding"
// dtypes = [["float32", "int64"]]
// kernel = "gather"
// arguments = ["x0", "x1", "out0"]
// [tapml_fuzz.launch]
// workgroups = ["numel(x1)"]
// [tapml_fuzz.defines]
// K = "size(x0, 1)"
@binding(0) @group(0) var<storage> table: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(1)
fn gather(@builtin(workgroup_id) at: vec3<u32>) {
    for (var k = 0; k < K; k++) {
        out[i32(at.x) * K + k] = table[rows[at.x] * K + k];
    }
}
"""
