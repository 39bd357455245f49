"""Elementwise operators in OpenCL C: exponentials, NaN, vectors with tails, grids, index types, rounding."""

from __future__ import annotations

from benchmarks.detection.opencl import Device, OpenCLKernel, ceil_div, planted
from tapml_fuzz.core.dtypes import Array

_BLOCK = 64

_UNARY = """
kernel void unary(global T *y, global const T *x, int n) {
    int i = GLOBAL(0);
    if (i < n) STORE(y, i, of(LOAD(x, i)));
}
"""
# tanh(u) = e / (e + 2) with e = exp(2u) - 1: no cancellation near zero, and no overflow below the limit.
_GELU = f"""
float of(float x) {{
    float u = 0.7978845608f * x * (1 + 0.044715f * x * x);
    float limited = u > 15 ? 15 : u;
    float e = expm1(2 * limited);
    return 0.5f * x * (1 + e / (e + 2));
}}
{_UNARY}"""
_SIGMOID = f"""
float of(float x) {{
    return 1 / (1 + exp(-x));
}}
{_UNARY}"""
_SILU = f"""
float of(float x) {{
    return x / (1 + exp(-x));
}}
{_UNARY}"""
_RELU = f"""
float of(float x) {{
    return x < 0 ? 0 : x;
}}
{_UNARY}"""
_TO_HALF = """
kernel void unary(global half *y, global const float *x, int n) {
    int i = GLOBAL(0);
    if (i < n) vstore_half_rte(x[i], i, y);
}
"""
_CLAMP = """
float greater(float a, float b) { return a > b || isnan(a) ? a : b; }
float less(float a, float b) { return a < b || isnan(a) ? a : b; }

kernel void clamped(global T *y, global const T *x, global const T *low, global const T *high, int n, int width) {
    int i = GLOBAL(0);
    if (i >= n) return;
    float raised = greater(LOAD(x, i), LOAD(low, i % width));
    STORE(y, i, less(raised, LOAD(high, i % width)));
}
"""
_ADD = """
kernel void add(global float *y, global const float *a, global const float *b, int n) {
    int vector = GLOBAL(0), first = 4 * vector;
    if (first + 4 <= n) {
        vstore4(vload4(vector, a) + vload4(vector, b), vector, y);
    } else {
        for (int i = first; i < n; i++) y[i] = a[i] + b[i];
    }
}
"""
_ADD_BIAS = """
kernel void add_bias(global T *y, global const T *x, global const T *bias, int n, int width) {
    int i = GLOBAL(0);
    if (i < n) STORE(y, i, LOAD(x, i) + LOAD(bias, i % width));
}
"""


def _groups(n: int, *, down: bool = False) -> tuple[int]:
    return (n // _BLOCK if down else ceil_div(n, _BLOCK),)


def _unary(device: Device, x: Array, *, dtype: str = "", down: bool = False) -> Array:
    y = device.new(x.shape, dtype or x.dtype)
    device.run("unary", _groups(x.size, down=down), (_BLOCK,), y, device.put(x), x.size)
    return device.get(y, x.shape, dtype or x.dtype)


def _rounded_down(device: Device, x: Array) -> Array:
    return _unary(device, x, down=True)


def _to_half(device: Device, x: Array) -> Array:
    return _unary(device, x, dtype="float16")


def _clamp(device: Device, x: Array, low: Array, high: Array) -> Array:
    y = device.new(x.shape, x.dtype)
    given = (device.put(x), device.put(low), device.put(high), x.size, low.size)
    device.run("clamped", _groups(x.size), (_BLOCK,), y, *given)
    return device.get(y, x.shape, x.dtype)


def _add(device: Device, a: Array, b: Array, *, tail: bool = True) -> Array:
    y = device.new(a.shape, a.dtype)
    vectors = ceil_div(a.size, 4) if tail else a.size // 4
    device.run("add", _groups(vectors), (_BLOCK,), y, device.put(a), device.put(b), a.size)
    return device.get(y, a.shape, a.dtype)


def _add_bias(device: Device, x: Array, bias: Array) -> Array:
    y = device.new(x.shape, x.dtype)
    device.run("add_bias", _groups(x.size), (_BLOCK,), y, device.put(x), device.put(bias), x.size, bias.size)
    return device.get(y, x.shape, x.dtype)


gelu, sigmoid, silu, relu = (OpenCLKernel(source, _unary) for source in (_GELU, _SIGMOID, _SILU, _RELU))
to_half = OpenCLKernel(_TO_HALF, _to_half)
clamp = OpenCLKernel(_CLAMP, _clamp)
add = OpenCLKernel(_ADD, _add)
add_bias = OpenCLKernel(_ADD_BIAS, _add_bias)


FAULTS = (
    planted(
        "opencl gelu exponential overflows", "gelu tanh", gelu,
        gelu.but("float limited = u > 15 ? 15 : u;", "float limited = u;"),
        origin="https://github.com/ggml-org/llama.cpp/issues/5243", reveals="activations", dtypes=("", "float16"),
    ),
    planted(
        "opencl sigmoid overflows", "sigmoid", sigmoid,
        sigmoid.but("return 1 / (1 + exp(-x));", "return exp(x) / (1 + exp(x));"),
        origin="sigmoid as exp(x) / (1 + exp(x)): infinity over infinity", reveals="specials",
    ),
    planted(
        "opencl sigmoid grid rounded down", "sigmoid", sigmoid, sigmoid.hosted(_rounded_down),
        origin="https://github.com/NVIDIA/cuda-samples/issues/411",
    ),
    planted(
        "opencl silu by tanh", "silu", silu,
        silu.but("return x / (1 + exp(-x));", "return x * 0.5f * (1 + tanh(0.5f * x));"),
        origin="https://github.com/tenstorrent/tt-metal/issues/56517", reveals="activations",
    ),
    planted(
        "opencl relu loses NaN", "relu", relu, relu.but("return x < 0 ? 0 : x;", "return fmax(x, 0);"),
        origin="https://github.com/apache/tvm/issues/19579", reveals="specials", dtypes=("", "bfloat16"),
    ),
    planted(
        "opencl clamp upper limit loses NaN", "clamp", clamp,
        clamp.but("less(raised, LOAD(high, i % width))", "fmin(raised, LOAD(high, i % width))"),
        origin="https://github.com/openvinotoolkit/openvino/pull/36632", reveals="specials",
    ),
    planted(
        "opencl cast to half truncates", "cast residual to float16", to_half,
        to_half.but("vstore_half_rte", "vstore_half_rtz"),
        origin="https://github.com/agenium-scale/nsimd/issues/38",
    ),
    planted(
        "opencl add without tail", "add", add, add.hosted(lambda *a: _add(*a, tail=False)),
        origin="as many work-items as whole vectors of four", reveals="shapes",
    ),
    planted(
        "opencl add tail of one", "add", add,
        add.but("for (int i = first; i < n; i++) y", "int i = first; if (i < n) y"),
        origin="a tail that is taken for a single element", reveals="shapes",
    ),
    planted(
        "opencl add bias index in 16 bits", "add bias", add_bias,
        add_bias.but("int i = GLOBAL(0);", "ushort i = GLOBAL(0);"),
        origin="an index in 16 bits, as an id is declared on mobile: elements from 65536 on are never written",
        reveals="shapes",
    ),
)  # fmt: skip
