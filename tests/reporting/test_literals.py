from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import torch

from tapml_fuzz.core.case import LAYOUTS, Case, as_laid_out
from tapml_fuzz.core.dtypes import NAMES, numpy_dtype
from tapml_fuzz.core.operator import DType, Float, Operator, Product, Slot
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.reporting.literals import as_layout, call_arguments, tensor_literal


def evaluated(text: str) -> torch.Tensor:
    """What Python makes of a literal that we wrote ourselves."""
    scope = {"torch": torch, "inf": math.inf, "nan": math.nan}
    exec(f"result = {text}", scope)  # noqa: S102
    result: torch.Tensor = scope["result"]  # type: ignore[assignment]
    return result


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (), (1,), (3, 4)])
def test_literals_give_the_same_bits(dtype: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    array = (random.normal(size=shape) * 100).astype(numpy_dtype(dtype))
    array = np.asarray(array)
    again = to_numpy(evaluated(tensor_literal(array)))
    assert again.shape == array.shape
    assert again.dtype == array.dtype
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_special_values_survive(dtype: type) -> None:
    info = ml_dtypes.finfo(dtype)
    array = np.array([0.0, -0.0, np.inf, -np.inf, info.max, info.smallest_subnormal, 0.1, np.nan]).astype(dtype)
    again = to_numpy(evaluated(tensor_literal(array)))
    assert again[:7].tobytes() == array[:7].tobytes()
    assert np.isnan(again[7].astype(np.float64))


def test_equal_elements_are_written_short() -> None:
    assert tensor_literal(np.ones((4, 4), np.float32)) == "torch.full((4, 4), 1.0, dtype=torch.float32)"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_expression_gives_that_layout(layout: str) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    text = as_layout("x", layout)
    scope = {"torch": torch, "x": x}
    exec(f"result = {text or 'x'}", scope)  # noqa: S102
    result: torch.Tensor = scope["result"]  # type: ignore[assignment]
    expected = as_laid_out(x.numpy(), layout)  # type: ignore[arg-type]
    assert torch.equal(result, x)
    assert [s * 4 for s in result.stride()] == list(expected.strides)


def test_arguments_of_every_kind() -> None:
    operator = Operator(
        "aten.example.default",
        (Slot(0), [Product(("a",)), 2], Float("inf"), None),
        {"dtype": DType("float16"), "other": [Slot(1)]},
        ((Product(("a",)),), ()),
        ("float32", "float32"),
    )
    case = Case(operator, {"a": 3}, (np.ones(3, np.float32), np.float32(1).reshape(())))
    assert call_arguments(case) == 'x0, [3, 2], float("inf"), None, dtype=torch.float16, other=[x1]'
