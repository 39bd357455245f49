"""Exporting an operator: which axes stay open, which constants stay constant, and what cannot be expressed."""

from __future__ import annotations

import pytest
import torch

from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators.export import NotExpressible, export, open_axes, output_dtypes
from tapml_fuzz.operators.invoke import call, to_torch
from tests.platforms.operators import MINILM, SOFTMAX, A, B, Product, X, Y, aten, case

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("operator", [SOFTMAX, MINILM["addmm"], MINILM["layer_norm"], MINILM["view-merge"]])
def test_one_export_serves_any_sizes(operator: Operator) -> None:
    module = export(operator, operator.dtypes, {}).module()
    for base in (2, 3, 40):
        given = case(operator, **{name: base + index for index, name in enumerate(operator.axis_names)})
        tensors = [to_torch(tensor) for tensor in given.tensors]
        for actual, wanted in zip(module(*tensors), call(operator, tensors, given.sizes), strict=True):
            torch.testing.assert_close(actual, wanted)


def test_axes_of_one_name_must_agree() -> None:
    module = export(MINILM["add"], ("float32", "float32"), {}).module()
    with pytest.raises((AssertionError, RuntimeError)):
        module(torch.zeros(3, 4), torch.zeros(3, 5))


def test_given_sizes_are_fixed() -> None:
    module = export(SOFTMAX, ("float32",), {"b": 7}).module()
    assert module(torch.zeros(5, 7))[0].shape == (5, 7)
    with pytest.raises((AssertionError, RuntimeError)):
        module(torch.zeros(5, 8))


def test_multiple_of_an_axis_is_dynamic() -> None:
    doubled = aten("neg.default", [X], [(Product(("a",), 2), B), (A,)])
    module = export(doubled, doubled.dtypes, {}).module()
    assert module(torch.zeros(6, 4), torch.zeros(3))[0].shape == (6, 4)


def test_hidden_axis_must_be_given() -> None:
    split = MINILM["view-split"]
    with pytest.raises(NotExpressible, match="axis a, b"):
        export(split, split.dtypes, {})
    assert open_axes(split, {"a": 2, "b": 3}) == ("c",)
    module = export(split, split.dtypes, {"a": 2, "b": 3}).module()
    assert module(torch.zeros(6, 5))[0].shape == (2, 3, 5)


def test_torch_names_the_axis_to_fix() -> None:
    with pytest.raises(NotExpressible) as caught:
        export(MINILM["slice"], ("float32",), {})
    assert caught.value.axes == ("b",)
    module = export(MINILM["slice"], ("float32",), {"b": 12}).module()
    assert module(torch.zeros(31, 12))[0].shape == (31, 7)


def test_operator_without_tensors() -> None:
    (made,) = export(MINILM["full"], (), {"a": 2, "b": 3}).module()()
    torch.testing.assert_close(made, torch.full((2, 3), -1.5))


def test_rejected_call_is_not_expressible() -> None:
    wrong = aten("bmm.default", [X, Y], [(A, B), (A, B)])
    with pytest.raises(NotExpressible, match=r"torch\.export"):
        export(wrong, wrong.dtypes, {"a": 2, "b": 3})


def test_output_dtypes() -> None:
    assert output_dtypes(MINILM["embedding"], ("float16", "int64"), {}) == ("float16",)
    assert output_dtypes(MINILM["ge-scalar"], ("float32",), {}) == ("bool",)


def test_output_dtypes_of_axes_that_are_broadcast() -> None:
    """Such axes have names of their own, and torch takes no two sizes for them."""
    c, d = Product(("c",)), Product(("d",))
    assert output_dtypes(aten("le.Tensor", [X, Y], [(A, B), (c, d)], "int64"), ("int64", "int64"), {}) == ("bool",)
