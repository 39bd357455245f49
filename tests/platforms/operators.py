"""Operators written by hand, for the tests of platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Case, Layout
from tapml_fuzz.core.dtypes import Array, is_float, numpy_dtype
from tapml_fuzz.core.operator import DType, Float, Index, Operator, Product, Slot

A, B, C = (Product((name,)) for name in "abc")
ONE = Product()
X, Y, Z = Slot(0), Slot(1), Slot(2)


def aten(
    name: str,
    args: Sequence[Any],
    axes: Sequence[Sequence[Product]],
    dtypes: Sequence[str] | str = "float32",
    indexes: Sequence[Index] = (),
    **kwargs: Any,
) -> Operator:
    """An aten call; one dtype name stands for every tensor."""
    names = (dtypes,) * len(axes) if isinstance(dtypes, str) else tuple(dtypes)
    return Operator(f"aten.{name}", tuple(args), kwargs, tuple(map(tuple, axes)), names, tuple(indexes))


def clone(dtype: str = "float32") -> Operator:
    return aten("clone.default", [X], [(A, B)], dtype)


def add(dtype: str = "float32") -> Operator:
    return aten("add.Tensor", [X, Y], [(A, B), (A, B)], dtype)


SOFTMAX = aten("_softmax.default", [X, -1, False], [(A, B)])
SUB = aten("sub.Tensor", [X, Y], [(A, B), (A, B)])
LAYER_NORM = aten("native_layer_norm.default", [X, [B], Y, Z, 1e-5], [(A, B), (B,), (B,)])
_M, _N, _K = (Product((name,)) for name in "mnk")

MINILM: dict[str, Operator] = {
    "softmax": SOFTMAX,
    "layer_norm": LAYER_NORM,
    "addmm": aten("addmm.default", [X, Y, Z], [(_N,), (_M, _K), (_K, _N)]),
    "bmm": aten("bmm.default", [X, Y], [(A, _M, _K), (A, _K, _N)]),
    "gelu": aten("gelu.default", [X], [(A, B)]),
    "tanh": aten("tanh.default", [X], [(A, B)]),
    "add": add(),
    "add-broadcast": aten("add.Tensor", [X, Y], [(A, B, C), (A, ONE, C)]),
    "add-scalar": aten("add.Tensor", [X, 1.5], [(A, B)]),
    "mul-scalar": aten("mul.Tensor", [X, 0.125], [(A, B)]),
    "where": aten("where.self", [X, Y, Z], [(A, B), (A, B), ()], ("bool", "float32", "float32")),
    "embedding": aten(
        "embedding.default", [X, Y, 0], [(C, _K), (A, B)], ("float32", "int64"), [Index(1, C)]
    ),
    "index": aten(
        "index.Tensor", [X, [Y, Z]], [(_M, _N), (A, ONE), (B,)], ("float32", "int64", "int64"),
        [Index(1, _M), Index(2, _N)],
    ),
    "permute": aten("permute.default", [X, [0, 2, 1]], [(A, B, C)]),
    "view-merge": aten("view.default", [X, [Product(("a", "b")), C]], [(A, B, C)]),
    "view-split": aten("view.default", [X, [A, B, C]], [(Product(("a", "b")), C)]),
    "expand": aten("expand.default", [X, [A, B, C]], [(A, ONE, C)]),
    "slice": aten("slice.Tensor", [X, 1, 2, 9], [(A, B)]),
    "select": aten("select.int", [X, 1, 0], [(A, B)]),
    "unsqueeze": aten("unsqueeze.default", [X, 1], [(A, B)]),
    "clone": clone(),
    "to-bool": aten("_to_copy.default", [X], [(A, B)], dtype=DType("bool")),
    "ge-scalar": aten("ge.Scalar", [X, 0.25], [(A, B)]),
    "bitwise-and": aten("bitwise_and.Tensor", [X, Y], [(A, B), (A, B)], "bool"),
    "sum": aten("sum.dim_IntList", [X, [1], False], [(A, B, C)]),
    "div": aten("div.Tensor", [X, Y], [(A, B), (A, ONE)]),
    "clamp": aten("clamp.default", [X, -0.5], [(A, B)]),
    "vector-norm": aten("linalg_vector_norm.default", [X, 2, [1], True], [(A, B)]),
    "arange": aten("arange.default", [A], []),
    "full": aten("full.default", [[A, B], -1.5], [], dtype=DType("float32")),
    "full-inf": aten("full.default", [[A, B], Float("-inf")], [], dtype=DType("float32")),
}  # fmt: skip


def tensors_for(operator: Operator, sizes: Mapping[str, int], seed: int = 0) -> tuple[Array, ...]:
    """Standard normal floats, small integers, and valid indices where the operator has them."""
    random = np.random.default_rng(seed)
    extents = {index.slot: index.extent.value(sizes) for index in operator.indexes}
    made: list[Array] = []
    for slot, (shape, dtype) in enumerate(zip(operator.shapes(sizes), operator.dtypes, strict=True)):
        if slot in extents:
            values: Any = random.integers(0, max(1, extents[slot]), shape)
        elif is_float(dtype):
            values = random.standard_normal(shape)
        else:
            values = random.integers(0, 2 if dtype == "bool" else 50, shape)
        made.append(np.asarray(values).astype(numpy_dtype(dtype)))
    return tuple(made)


def case(operator: Operator, *, layout: Layout = "contiguous", seed: int = 0, **sizes: int) -> Case:
    """A case of `operator` at `sizes` with plain random tensors."""
    tensors = tensors_for(operator, sizes, seed)
    return Case(operator, sizes, tensors, (layout,) * len(tensors))
