"""Correct implementations that others wrote: onnxruntime, torch's own kernels on the CPU and on CUDA, TVM.

What is left out was tried and lies outside the error bound on some input; the reason stands where it would be.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from benchmarks.detection.model import Control
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import Ok, RunOutcome
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.operators.invoke import resolve
from tapml_fuzz.platforms.session.isolated import WorkerSession

_HALF = ("", "float16")
_ALL = ("", "float16", "bfloat16")

# --- onnxruntime: a graph of one node, with open shapes ---

# Inputs by number, and attributes, from a recorded call's arguments.
Arranged = tuple[list[Array], Mapping[str, Any]]
_OPSET = 20


def onnx(op: str, arrange: Callable[..., Arranged], typed_as: int = 0) -> Callable[..., Array]:
    """One ONNX operator as a numpy function; the output has the dtype of input number `typed_as`.

    A layer norm over no elements is not run: onnxruntime refuses it.
    """

    def run(*args: Any) -> Array:
        tensors, attributes = arrange(*args)
        packed = [np.ascontiguousarray(t).reshape(t.shape) for t in tensors]
        if op == "LayerNormalization" and packed[0].size == 0:
            return np.empty_like(packed[0])
        if op == "ReduceSum" and packed[0].size == 0:  # onnxruntime 1.32 keeps the empty axis
            return np.asarray(packed[0].sum(axis=tuple(packed[1])))
        kinds = tuple((t.dtype.name, t.ndim) for t in packed)
        session = _session(op, kinds, tuple(sorted((k, _frozen(v)) for k, v in attributes.items())), typed_as)
        result: Array = session.run(None, {f"x{n}": t for n, t in enumerate(packed)})[0]
        return result

    return run


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@cache
def _session(op: str, kinds: tuple[tuple[str, int], ...], attributes: tuple[tuple[str, Any], ...], like: int) -> Any:
    from onnx import helper

    onnxruntime = import_module("onnxruntime")  # it ships no type information
    types = [helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name, _ in kinds]
    inputs = [
        helper.make_tensor_value_info(f"x{n}", kind, [f"d{n}_{axis}" for axis in range(rank)])
        for n, (kind, (_, rank)) in enumerate(zip(types, kinds, strict=True))
    ]
    output = helper.make_tensor_value_info("y", types[like], None)
    node = helper.make_node(op, [i.name for i in inputs], ["y"], **dict(attributes))
    graph = helper.make_graph([node], op, inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what it rejects, it raises as well
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _as_they_are(*tensors: Array) -> Arranged:
    return list(tensors), {}


def _conv(
    x: Array, w: Array, b: Array, stride: list[int], padding: list[int], dilation: list[int], *rest: Any
) -> Arranged:
    _, _, groups = rest
    return [x, w, b], {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": groups}


def _avg_pool(
    x: Array, kernel: list[int], stride: list[int], padding: list[int], ceil: bool, count_padding: bool
) -> Arranged:
    counted = {"count_include_pad": int(count_padding)}
    return [x], {"kernel_shape": kernel, "strides": stride, "pads": padding * 2, **counted}


def _onnx(
    op: str,
    subject: str,
    arrange: Callable[..., Arranged],
    *,
    dtypes: tuple[str, ...] = ("",),
    typed_as: int = 0,
    policy: Policy | None = None,
) -> Control:
    function = onnx(op, arrange, typed_as)
    needs = ("onnxruntime", "onnx")
    return Control(f"onnxruntime {subject}", subject, function, "numpy", dtypes, policy, needs)


# On processors without AVX-512: exp(-88) is 0 in its softmax, not 6e-39.
_FLUSHES = Policy(
    flushes_subnormals=True, source="seen to be so: onnxruntime 1.32's exponential has no subnormal results"
)


ONNXRUNTIME = (
    _onnx("Softmax", "softmax", lambda x, dim, half_to_float: ([x], {"axis": dim}), dtypes=_HALF, policy=_FLUSHES),
    _onnx("LogSoftmax", "log_softmax", lambda x, dim, half_to_float: ([x], {"axis": dim}), dtypes=_HALF),
    _onnx("LayerNormalization", "wgsl layer norm", lambda x, g, b, eps: ([x, g, b], {"epsilon": eps}), dtypes=_HALF),
    _onnx("Gelu", "gelu", _as_they_are, dtypes=_HALF),
    # Gelu's tanh form: the tanh inside reaches -1 - 2^-22, so that gelu(x) is positive from x = -5.15 on.
    # Tanh: that same approximation; below 1e-36 its numerator is subnormal, and tanh(1.18e-38) loses 28 ULP.
    _onnx("Erf", "erf", _as_they_are, dtypes=_HALF),
    # Sigmoid: 0.5 plus an approximation, so that its error is absolute: sigmoid(-12) is 0.6% off, sigmoid(-18) is 0.
    _onnx("Softplus", "softplus", lambda x, beta, threshold: ([x], {}), dtypes=_HALF),
    _onnx("Exp", "exp", _as_they_are, dtypes=_HALF),
    _onnx("Gemm", "wgsl linear", lambda x, w, b: ([x, w, b], {"transB": 1}), dtypes=_HALF),
    _onnx("ReduceSum", "row sums", lambda x, axes, keep: ([x, np.array(axes)], {"keepdims": 0}), dtypes=_HALF),
    _onnx("Add", "add", _as_they_are, dtypes=_HALF),
    _onnx("Mul", "multiply channels", _as_they_are, dtypes=_HALF),
    _onnx("Div", "divide rows", _as_they_are, dtypes=_HALF),
    _onnx("Round", "round", _as_they_are, dtypes=_HALF),
    _onnx("Gather", "embedding", lambda table, ids, padding: ([table, ids], {}), dtypes=_HALF),
    _onnx("GatherElements", "gather", lambda x, axis, ids: ([x, ids], {"axis": axis}), dtypes=_HALF),
    _onnx("Transpose", "permute", lambda x, order: ([x], {"perm": order}), dtypes=_HALF),
    _onnx("Concat", "cat", lambda xs, axis: (list(xs), {"axis": axis}), dtypes=_HALF),
    _onnx("Where", "where", _as_they_are, dtypes=_HALF, typed_as=1),
    _onnx("Relu", "relu", _as_they_are, dtypes=_HALF),
    _onnx("Max", "maximum", _as_they_are, dtypes=_HALF),
    _onnx("MatMul", "mm", _as_they_are, dtypes=_HALF),
    _onnx("MatMul", "bmm", _as_they_are, dtypes=_HALF),
    _onnx("Conv", "conv2d", _conv, dtypes=_HALF),
    _onnx("Conv", "conv2d uneven", _conv, dtypes=_HALF),
    _onnx("Conv", "conv2d grouped", _conv, dtypes=_HALF),
    _onnx("Conv", "conv1d", _conv, dtypes=_HALF),
    _onnx("Conv", "conv1d depthwise", _conv, dtypes=_HALF),
    # MaxPool drops NaN, which torch passes on.
    _onnx("AveragePool", "avg pool", _avg_pool, dtypes=_HALF),
)

# --- torch's own kernels, by the operator that defines the subject ---


@cache
def _operator(name: str) -> Operator:
    """The operator of a subject, whichever family has it."""
    from benchmarks.detection.registry import subjects

    return subjects()[name].source().operator


def on_cpu(name: str) -> Callable[..., Any]:
    """The subject's operator as torch runs it, with the recorded call's arguments."""
    return lambda *args: resolve(_operator(name).name)(*args)


def on_cuda(name: str) -> Callable[..., Any]:
    """The same on the GPU, with products in whole float32."""

    def moved(argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [moved(item) for item in argument]
        return argument.cuda() if isinstance(argument, torch.Tensor) else argument

    def run(*args: Any) -> Any:
        matmul = torch.backends.cuda.matmul
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        # By default split sums may be added up in half precision (seen: 7 and 27 times the bound).
        matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = False
        return resolve(_operator(name).name)(*map(moved, args))

    return run


_TORCH = (
    "softmax", "log_softmax", "logsumexp", "wgsl layer norm", "wgsl linear", "row sums", "column sums", "total", "add",
    "multiply channels", "divide rows", "embedding", "gather", "index rows", "permute", "cat", "where", "roll", "flip",
    "index_put accumulate", "scatter_add", "cast to float16", "cast to bfloat16", "round", "relu", "maximum",
    "max pool",
)  # fmt: skip
# Those that have a control of torch's on the CPU beside their faults.
# Not attention: its CUDA kernel gives zero where every key is hidden by the lowest number, and NaN beside an overflow.
_TORCH_CUDA = (
    *_TORCH, "gelu", "gelu tanh", "tanh", "sigmoid", "silu", "softplus", "exp", "erf", "rsqrt", "cube", "mm", "bmm",
    "linear", "conv2d", "conv1d", "avg pool",
)  # fmt: skip
# cuBLAS splits long bfloat16 sums and rounds the parts (1.03 times the bound); cuDNN saturates in float16, NaN too.
_INEXACT_IN_HALF = ("mm", "bmm", "linear", "conv2d", "conv1d")

TORCH_CPU = tuple(Control(f"torch-cpu {name}", name, on_cpu(name), dtypes=_ALL) for name in _TORCH)
TORCH_CUDA = tuple(
    Control(
        f"torch-cuda {name}",
        name,
        on_cuda(name),
        dtypes=("",) if name in _INEXACT_IN_HALF else _ALL,
        needs=("torch.cuda",),
    )
    for name in _TORCH_CUDA
)

# --- TVM, compiled by LLVM, in a worker of its own since it perturbs fresh memory of its process ---


@cache
def _tvm() -> Callable[[Case], RunOutcome]:
    """Runs cases in one thread: a call that is given up (a timeout) must not end in the middle of a message."""
    session = WorkerSession("tvm-llvm")
    thread = ThreadPoolExecutor(1, thread_name_prefix="tvm-llvm")
    atexit.register(session.close)
    return lambda case: thread.submit(session.run, case).result()


def on_tvm(name: str) -> Callable[..., Array]:
    """The subject's operator as TVM compiles it, with open shapes where it can."""

    def run(*args: Any) -> Array:
        operator, tensors = _operator(name), tuple(_tensors(args))
        sizes = {
            size.axes[0]: extent // size.constant
            for axes, tensor in zip(operator.axes, tensors, strict=True)
            for size, extent in zip(axes, tensor.shape, strict=True)
            if len(size.axes) == 1
        }
        outcome = _tvm()(Case(operator, sizes, tensors))
        if not isinstance(outcome, Ok):
            raise RuntimeError(str(outcome))
        result: Array = outcome.outputs[0]
        return result

    return run


def _tensors(arguments: Any) -> Iterator[Array]:
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            yield np.ascontiguousarray(argument).reshape(argument.shape)
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)


# Left out: linear and row sums (over no elements they stay unwritten), tanh (by exponentials: 440 ULP near zero),
# relu and maximum (they drop NaN), layer norm and gather (rejected, or not to be told from shapes alone).
_TVM = (
    "softmax", "log_softmax", "add", "multiply channels", "divide rows", "gelu", "sigmoid", "silu", "exp", "erf",
    "embedding", "permute", "cat", "where", "flip", "round",
)  # fmt: skip

TVM_LLVM = tuple(
    Control(f"tvm-llvm {name}", name, on_tvm(name), arrays="numpy", needs=("tvm",), strided=False) for name in _TVM
)

CONTROLS = (*ONNXRUNTIME, *TORCH_CPU, *TORCH_CUDA, *TVM_LLVM)
