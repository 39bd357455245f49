"""Operators with arguments to try them on: every family of the oracle's rules, small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of, numpy_dtype
from tapml_fuzz.core.operator import DType, Operator, Product, Slot

Draw = Callable[..., Array]


class Entry(NamedTuple):
    """An operator and how to make its arguments; `draw(*shape)` gives floats of the tried distribution and dtype."""

    family: str
    name: str
    arguments: Callable[[Draw, np.random.Generator], tuple[list[Any], dict[str, Any]]]


def operator_of(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[Operator, tuple[Array, ...]]:
    """An `Operator` with fixed sizes out of a concrete call."""
    tensors: list[Array] = []

    def template(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            tensors.append(item)
            return Slot(len(tensors) - 1)
        return [template(i) for i in item] if isinstance(item, list | tuple) else item

    templates = tuple(template(a) for a in args)
    named = {k: template(v) for k, v in kwargs.items()}
    axes = tuple(tuple(Product((), size) for size in t.shape) for t in tensors)
    return Operator(name, templates, named, axes, tuple(name_of(t) for t in tensors)), tuple(tensors)


def _simple(family: str, name: str, *more: Any, shape: tuple[int, ...] = (24, 48), **kwargs: Any) -> Entry:
    return Entry(family, f"aten.{name}", lambda draw, _: ([draw(*shape), *more], kwargs))


def _positive(family: str, name: str, *more: Any) -> Entry:
    return Entry(family, f"aten.{name}", lambda draw, _: ([abs(draw(24, 48)), *more], {}))


def _two(family: str, name: str, one: tuple[int, ...] = (24, 48), other: tuple[int, ...] = (48,), **kw: Any) -> Entry:
    return Entry(family, f"aten.{name}", lambda draw, _: ([draw(*one), draw(*other)], kw))


_UNARY = ("neg.default", "abs.default", "relu.default")
_FUNCTIONS = (
    "exp",
    "tanh",
    "erf",
    "sigmoid",
    "silu",
    "sin",
    "cos",
    "expm1",
    "exp2",
    "softplus",
    "atan",
    "asinh",
    "elu",
)
_ON_POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal", "log1p", "log2", "log10")
_COMPARISONS = ("ge", "gt", "le", "lt", "eq", "ne")


def _indices(rng: np.random.Generator, high: int, *shape: int) -> Array:
    return rng.integers(0, high, shape)


def _pointwise() -> Iterator[Entry]:
    yield from (_simple("movement", name) for name in _UNARY)
    yield from (_simple("function", f"{name}.default") for name in _FUNCTIONS)
    yield from (_positive("function", f"{name}.default") for name in _ON_POSITIVE)
    yield _simple("function", "gelu.default")
    yield _simple("function", "gelu.default", approximate="tanh")
    yield _two("arithmetic", "add.Tensor")
    yield _two("arithmetic", "add.Tensor", alpha=0.7)
    yield _simple("arithmetic", "add.Scalar", 0.1)
    yield _two("arithmetic", "sub.Tensor", alpha=2)
    yield _two("arithmetic", "mul.Tensor")
    yield _simple("arithmetic", "mul.Scalar", 0.1)
    yield _two("arithmetic", "div.Tensor")
    yield _simple("arithmetic", "div.Scalar", 3.0)
    yield _simple("arithmetic", "rsub.Scalar", 1.0)
    yield from (_simple("function", "pow.Tensor_Scalar", p) for p in (2, 3, 2.0))
    yield from (_positive("function", "pow.Tensor_Scalar", p) for p in (0.5, 1.7, -1.5))
    yield Entry("function", "aten.pow.Tensor_Tensor", lambda draw, _: ([abs(draw(24, 48)), draw(48)], {}))
    yield _two("function", "atan2.default", (24, 48), (24, 48))
    yield _simple("arithmetic", "square.default")
    yield from (_simple("function", f"{name}.default") for name in ("erfc", "sinh", "cosh", "tan"))
    yield from (Entry("function", f"aten.{n}.default", lambda d, _: ([np.tanh(d(9, 9))], {})) for n in ("asin", "acos"))
    yield Entry("function", "aten.atanh.default", lambda d, _: ([np.tanh(d(9, 9)) * np.float16(0.9)], {}))
    yield Entry("function", "aten.acosh.default", lambda d, _: ([abs(d(9, 9)) + np.float16(1)], {}))
    yield Entry("arithmetic", "aten.addcmul.default", lambda d, _: ([d(9, 9), d(9), d(9, 9)], {"value": 0.3}))
    yield Entry("arithmetic", "aten.addcdiv.default", lambda d, _: ([d(9, 9), d(9), d(9, 9)], {"value": 2}))
    yield Entry("arithmetic", "aten.lerp.Scalar", lambda d, _: ([d(9, 9), d(9, 9), 0.3], {}))
    yield _simple("movement", "clamp_min.default", 0.1)
    yield _simple("movement", "clamp_max.default", 0.1)
    yield _two("remainder", "floor_divide.default")
    yield from (_simple("comparison", f"{name}.default") for name in ("isnan", "isinf", "isfinite", "logical_not"))
    yield from (_two("comparison", f"logical_{name}.default") for name in ("and", "or", "xor"))
    yield _simple("comparison", "any.dim", -1)
    yield _simple("comparison", "all.default")
    yield _simple("movement", "clamp.default", -0.5, 0.75)
    yield _two("movement", "maximum.default")
    yield _two("movement", "minimum.default")
    yield _simple("movement", "hardtanh.default")
    yield _simple("arithmetic", "leaky_relu.default", 0.1)
    yield from (_simple("movement", f"{name}.default") for name in ("floor", "ceil", "trunc", "round", "sign"))
    yield _two("remainder", "remainder.Tensor")
    yield _two("remainder", "fmod.Tensor")
    yield _simple("remainder", "remainder.Scalar", 0.75)
    yield from (_simple("comparison", f"{name}.Scalar", 0.25) for name in _COMPARISONS)
    yield from (_two("comparison", f"{name}.Tensor") for name in _COMPARISONS)


def _reductions() -> Iterator[Entry]:
    for shape in ((4, 1000), (24, 48), (3, 7)):
        yield _simple("sum", "sum.dim_IntList", [-1], shape=shape)
        yield _simple("sum", "mean.dim", [-1], True, shape=shape)
        yield _simple("variance", "var.correction", [-1], shape=shape, correction=1)
        yield _simple("norm", "linalg_vector_norm.default", 2, [-1], shape=shape)
        yield _simple("softmax", "_softmax.default", -1, False, shape=shape)
        yield _simple("softmax", "_log_softmax.default", -1, False, shape=shape)
        yield _simple("softmax", "logsumexp.default", [-1], shape=shape)
        yield _simple("cumsum", "cumsum.default", -1, shape=shape)
    yield _simple("sum", "sum.default")
    yield _simple("sum", "mean.default")
    yield _simple("sum", "sum.dim_IntList", [0, 1], shape=(8, 12, 10))
    yield _simple("norm", "linalg_vector_norm.default", 1, [-1])
    yield _simple("norm", "linalg_vector_norm.default", 3, [-1])
    yield _simple("norm", "norm.ScalarOpt_dim", 2, [-1])
    yield _simple("variance", "std.correction", [0], correction=0, keepdim=True)
    yield _simple("variance", "var_mean.correction", [-1], correction=0)
    yield _simple("softmax", "_softmax.default", 0, False)
    yield _simple("movement", "amax.default", [-1])
    yield _simple("movement", "amin.default", [0], True)
    yield _simple("movement", "max.default")
    yield _simple("product", "prod.dim_int", -1, shape=(24, 7))
    yield _simple("selection", "argmax.default", -1)
    yield _simple("selection", "argmin.default", 0, True)
    yield _simple("selection", "argmax.default")
    yield _simple("selection", "max.dim", -1)
    yield _simple("selection", "min.dim", 0, True)
    yield _simple("selection", "topk.default", 5)
    yield _simple("selection", "sort.default", -1, True)
    yield _simple("selection", "argsort.default", 0)
    yield _simple("selection", "median.dim", -1)


def _normalisation() -> Iterator[Entry]:
    for n in (48, 384):
        yield Entry(
            "normalisation",
            "aten.native_layer_norm.default",
            lambda d, _, n=n: ([d(12, n), [n], d(n), d(n), 1e-12], {}),  # type: ignore[misc]
        )
        yield Entry("normalisation", "aten.rms_norm.default", lambda d, _, n=n: ([d(12, n), [n], d(n), 1e-6], {}))  # type: ignore[misc]
    yield Entry("normalisation", "aten.layer_norm.default", lambda d, _: ([d(4, 6, 8), [6, 8]], {}))
    yield Entry("normalisation", "aten.group_norm.default", lambda d, _: ([d(2, 6, 10), 3, d(6), d(6)], {}))
    yield Entry(
        "normalisation",
        "aten.native_group_norm.default",
        lambda d, _: ([d(2, 6, 10), d(6), None, 2, 6, 10, 3, 1e-5], {}),
    )
    yield Entry("normalisation", "aten._fused_rms_norm.default", lambda d, _: ([d(5, 32), [32], d(32), None], {}))
    yield Entry(
        "normalisation",
        "aten._native_batch_norm_legit_no_training.default",
        lambda d, _: ([d(4, 6, 10), d(6), d(6), d(6), abs(d(6)), 0.1, 1e-5], {}),
    )


def _products() -> Iterator[Entry]:
    for k in (8, 64, 768):
        yield _two("matmul", "mm.default", (12, k), (k, 10))
        yield Entry("matmul", "aten.addmm.default", lambda d, _, k=k: ([d(10), d(12, k), d(k, 10)], {}))  # type: ignore[misc]
    yield _two("matmul", "bmm.default", (3, 12, 32), (3, 32, 10))
    both = {"beta": 0.5, "alpha": 2.0}
    for name in ("aten.baddbmm.default", "aten.addbmm.default"):
        yield Entry("matmul", name, lambda d, _: ([d(12, 10), d(3, 12, 32), d(3, 32, 10)], both))
    yield _two("matmul", "matmul.default", (2, 3, 5, 32), (32, 4))
    yield Entry("matmul", "aten.linear.default", lambda d, _: ([d(5, 32), d(7, 32), d(7)], {}))
    yield _two("matmul", "dot.default", (300,), (300,))
    yield Entry(
        "convolution",
        "aten.convolution.default",
        lambda d, _: ([d(2, 6, 9, 9), d(4, 3, 3, 3), d(4), [2, 1], [1, 1], [1, 1], False, [0, 0], 2], {}),
    )
    yield _simple("sum", "avg_pool2d.default", [3, 3], [2, 2], [1, 1], shape=(2, 3, 9, 9))
    yield _simple("movement", "max_pool2d.default", [3, 3], [2, 2], shape=(2, 3, 9, 9))
    yield _simple("sum", "avg_pool1d.default", [3], [2], [1], shape=(2, 3, 9))
    yield _simple("movement", "max_pool1d.default", [3], [2], shape=(2, 3, 9))
    yield Entry(
        "attention",
        "aten._scaled_dot_product_flash_attention_for_cpu.default",
        lambda d, _: ([d(2, 3, 10, 16), d(2, 3, 12, 16), d(2, 3, 12, 16)], {"scale": 0.2}),
    )
    yield Entry(
        "attention",
        "aten.scaled_dot_product_attention.default",
        lambda d, _: ([d(2, 3, 10, 16), d(2, 3, 12, 16), d(2, 3, 12, 16)], {}),
    )


def _movement() -> Iterator[Entry]:
    yield _simple("movement", "permute.default", [2, 0, 1], shape=(3, 4, 5))
    yield _simple("movement", "view.default", [12, 5], shape=(3, 4, 5))
    yield _simple("movement", "view.dtype", DType("int16"))
    yield _simple("movement", "expand.default", [6, 24, 48])
    yield _simple("movement", "slice.Tensor", 1, 3, 40, 2)
    yield _simple("movement", "select.int", 0, 3)
    yield _simple("movement", "unsqueeze.default", 1)
    yield _simple("movement", "squeeze.dim", 1, shape=(5, 1, 4))
    yield _simple("movement", "clone.default")
    yield from (_simple("movement", f"{name}.default") for name in ("alias", "contiguous", "detach", "lift_fresh", "t"))
    yield _simple("movement", "flip.default", [1])
    yield _simple("movement", "chunk.default", 3, 1)
    yield _simple("movement", "split.Tensor", 10, 1)
    yield _simple("movement", "split_with_sizes.default", [20, 28], 1)
    yield _simple("movement", "unbind.int", shape=(3, 4))
    yield _simple("movement", "unfold.default", 1, 5, 3)
    yield _simple("movement", "diagonal.default")
    yield _simple("movement", "flatten.using_ints")
    yield _simple("movement", "unflatten.int", 1, [6, 8])
    yield _simple("movement", "movedim.int", 0, 1)
    yield _simple("movement", "narrow.default", 1, 3, 9)
    yield _simple("movement", "reshape.default", [48, 24])
    yield _simple("movement", "tile.default", [2, 1])
    yield _simple("movement", "transpose.int", 0, 1)
    yield _simple("movement", "fill.Scalar", 0.1)
    yield _simple("movement", "full_like.default", 0.1)
    yield _simple("movement", "ones_like.default")
    yield _simple("movement", "zeros_like.default")
    yield _simple("movement", "new_full.default", [2, 3], 0.1)
    yield _simple("movement", "new_ones.default", [2, 3])
    yield _simple("movement", "new_zeros.default", [2, 3])
    yield Entry("movement", "aten.type_as.default", lambda d, _: ([d(2, 3), d(1)], {}))
    yield Entry("movement", "aten.slice_scatter.default", lambda d, _: ([d(6, 9), d(6, 3), 1, 2, 5], {}))
    yield Entry("movement", "aten.select_scatter.default", lambda d, _: ([d(6, 9), d(9), 0, 2], {}))
    yield Entry("movement", "aten.diagonal_scatter.default", lambda d, _: ([d(6, 6), d(6)], {}))
    yield Entry("movement", "aten.take.default", lambda d, r: ([d(6, 9), _indices(r, 54, 7)], {}))
    yield Entry("movement", "aten.take_along_dim.default", lambda d, r: ([d(6, 9), _indices(r, 9, 6, 2), 1], {}))
    yield _simple("movement", "roll.default", [3], [1])
    yield _simple("movement", "repeat.default", [2, 1, 2])
    yield _simple("movement", "tril.default")
    yield _simple("movement", "triu.default", 1)
    yield _simple("movement", "constant_pad_nd.default", [1, 2, 0, 1], 0.1)
    yield Entry("movement", "aten.cat.default", lambda d, _: ([[d(3, 4), d(2, 4)]], {}))
    yield Entry("movement", "aten.stack.default", lambda d, _: ([[d(3, 4), d(3, 4)], 1], {}))
    yield Entry("movement", "aten.embedding.default", lambda d, r: ([d(30, 8), _indices(r, 30, 4, 5), 0], {}))
    yield Entry("movement", "aten.gather.default", lambda d, r: ([d(6, 9), 1, _indices(r, 9, 6, 4)], {}))
    yield Entry("movement", "aten.index_select.default", lambda d, r: ([d(6, 9), 1, _indices(r, 9, 5)], {}))
    yield Entry("movement", "aten.index.Tensor", lambda d, r: ([d(6, 9), [None, _indices(r, 9, 5)]], {}))
    yield Entry("movement", "aten.where.self", lambda d, r: ([r.random((6, 9)) < 0.5, d(6, 9), d(9)], {}))
    yield Entry("movement", "aten.masked_fill.Scalar", lambda d, r: ([d(6, 9), r.random((6, 9)) < 0.5, 0.1], {}))
    yield Entry(
        "movement",
        "aten.scatter.src",
        lambda d, r: ([d(6, 9), 1, np.stack([r.permutation(9)[:4] for _ in range(6)]), d(6, 4)], {}),
    )
    yield Entry("movement", "aten.scatter.value", lambda d, r: ([d(6, 9), 1, _indices(r, 9, 6, 4), 0.3], {}))
    yield Entry("movement", "aten.index_copy.default", lambda d, r: ([d(6, 9), 1, r.permutation(9)[:4], d(6, 4)], {}))
    yield Entry(
        "sum",
        "aten.index_put.default",
        lambda d, r: ([d(6, 4), [_indices(r, 6, 40)], d(40, 4), True], {}),
    )
    for target in ("float16", "float32", "bool"):
        yield Entry("cast", "aten._to_copy.default", lambda d, _, t=target: ([d(6, 9)], {"dtype": DType(t)}))  # type: ignore[misc]
    yield Entry("cast", "aten._to_copy.default", lambda d, _: ([np.clip(d(6, 9), -99, 99)], {"dtype": DType("int32")}))


CATALOGUE = (*_pointwise(), *_reductions(), *_normalisation(), *_products(), *_movement())


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)


def large(rng: np.random.Generator, *shape: int) -> Array:
    """Magnitudes around a thousand, both signs."""
    return rng.standard_normal(shape) * 1000


def uniform(rng: np.random.Generator, *shape: int) -> Array:
    return rng.random(shape)


def shifted(rng: np.random.Generator, *shape: int) -> Array:
    """A mean of a hundred standard deviations: variances cancel."""
    return rng.standard_normal(shape) + 100


def outliers(rng: np.random.Generator, *shape: int) -> Array:
    """One channel eighty times the others, as in real activations."""
    values = rng.standard_normal(shape)
    if values.ndim:
        values[..., 0] *= 80
    return values


def equal(rng: np.random.Generator, *shape: int) -> Array:
    """Every element of a row is the same number: rounding errors of a sum all point one way."""
    values = rng.standard_normal(shape)
    return np.broadcast_to(values[..., :1], shape).copy() if values.ndim else values


def ordered(_: np.random.Generator, *shape: int) -> Array:
    """A ramp, half of it negative: partial sums are far larger than the sum."""
    return np.linspace(-3, 3, int(np.prod(shape))).reshape(shape)


def zeros(_: np.random.Generator, *shape: int) -> Array:
    return np.zeros(shape)


def sparse(rng: np.random.Generator, *shape: int) -> Array:
    """Mostly zeros, the rest one of two numbers."""
    return rng.choice([0.0, 0.0, 0.0, 0.1, 0.7], shape)


def minute(rng: np.random.Generator, *shape: int) -> Array:
    """Subnormal in float32."""
    return rng.standard_normal(shape) * 1e-40


def spread(rng: np.random.Generator, *shape: int) -> Array:
    """Thirty orders of magnitude."""
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-15, 15, shape)


def special(rng: np.random.Generator, *shape: int) -> Array:
    """Infinities, NaN, signed zeros and the largest numbers among ordinary ones."""
    values = rng.standard_normal(shape).reshape(-1)
    count = max(1, values.size // 40)
    places = rng.integers(0, values.size, count if values.size else 0)
    values[places] = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -6e4], len(places))
    return values.reshape(shape)


DISTRIBUTIONS: dict[str, Callable[..., Array]] = {
    f.__name__: f
    for f in (normal, large, uniform, shifted, outliers, equal, ordered, zeros, sparse, minute, spread, special)
}


def drawing(rng: np.random.Generator, distribution: str, dtype: str) -> Draw:
    """`draw(*shape)` for a distribution and a dtype; float16 values are clipped to its range."""

    def draw(*shape: int) -> Array:
        with np.errstate(over="ignore"):
            return DISTRIBUTIONS[distribution](rng, *shape).astype(numpy_dtype(dtype))

    return draw
