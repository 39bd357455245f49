"""Operators that treat every element alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.oracle.catalogue.entry import Entry, positive, simple, two

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


def pointwise() -> Iterator[Entry]:
    yield from (simple("movement", name) for name in _UNARY)
    yield from (simple("function", f"{name}.default") for name in _FUNCTIONS)
    yield from (positive("function", f"{name}.default") for name in _ON_POSITIVE)
    yield simple("function", "gelu.default")
    yield simple("function", "gelu.default", approximate="tanh")
    yield two("arithmetic", "add.Tensor")
    yield two("arithmetic", "add.Tensor", alpha=0.7)
    yield simple("arithmetic", "add.Scalar", 0.1)
    yield two("arithmetic", "sub.Tensor", alpha=2)
    yield two("arithmetic", "mul.Tensor")
    yield simple("arithmetic", "mul.Scalar", 0.1)
    yield two("arithmetic", "div.Tensor")
    yield simple("arithmetic", "div.Scalar", 3.0)
    yield simple("arithmetic", "rsub.Scalar", 1.0)
    yield from (simple("function", "pow.Tensor_Scalar", p) for p in (2, 3, 2.0))
    yield from (positive("function", "pow.Tensor_Scalar", p) for p in (0.5, 1.7, -1.5))
    yield Entry("function", "aten.pow.Tensor_Tensor", lambda draw, _: ([abs(draw(24, 48)), draw(48)], {}))
    yield two("function", "atan2.default", (24, 48), (24, 48))
    yield simple("arithmetic", "square.default")
    yield from (simple("function", f"{name}.default") for name in ("erfc", "sinh", "cosh", "tan"))
    yield from (Entry("function", f"aten.{n}.default", lambda d, _: ([np.tanh(d(9, 9))], {})) for n in ("asin", "acos"))
    yield Entry("function", "aten.atanh.default", lambda d, _: ([np.tanh(d(9, 9)) * np.float16(0.9)], {}))
    yield Entry("function", "aten.acosh.default", lambda d, _: ([abs(d(9, 9)) + np.float16(1)], {}))
    yield Entry("arithmetic", "aten.addcmul.default", lambda d, _: ([d(9, 9), d(9), d(9, 9)], {"value": 0.3}))
    yield Entry("arithmetic", "aten.addcdiv.default", lambda d, _: ([d(9, 9), d(9), d(9, 9)], {"value": 2}))
    yield Entry("arithmetic", "aten.lerp.Scalar", lambda d, _: ([d(9, 9), d(9, 9), 0.3], {}))
    yield simple("movement", "clamp_min.default", 0.1)
    yield simple("movement", "clamp_max.default", 0.1)
    yield two("remainder", "floor_divide.default")
    yield from (simple("comparison", f"{name}.default") for name in ("isnan", "isinf", "isfinite", "logical_not"))
    yield from (two("comparison", f"logical_{name}.default") for name in ("and", "or", "xor"))
    yield simple("comparison", "any.dim", -1)
    yield simple("comparison", "all.default")
    yield simple("movement", "clamp.default", -0.5, 0.75)
    yield two("movement", "maximum.default")
    yield two("movement", "minimum.default")
    yield two("movement", "fmax.default")
    yield two("movement", "fmin.default")
    yield simple("movement", "hardtanh.default")
    yield simple("arithmetic", "leaky_relu.default", 0.1)
    yield from (simple("movement", f"{name}.default") for name in ("floor", "ceil", "trunc", "round", "sign"))
    yield two("remainder", "remainder.Tensor")
    yield two("remainder", "fmod.Tensor")
    yield simple("remainder", "remainder.Scalar", 0.75)
    yield from (simple("comparison", f"{name}.Scalar", 0.25) for name in _COMPARISONS)
    yield from (two("comparison", f"{name}.Tensor") for name in _COMPARISONS)
