"""Sizes of a known operator are read off another call of it, or the call is another operator's."""

from __future__ import annotations

import torch

from tapml_fuzz.carving.infer_sizes import infer_sizes, solve_sizes
from tapml_fuzz.core.operator import Product
from tapml_fuzz.operators.axes import infer_many


def test_products_are_solved() -> None:
    a, b = Product(("a",)), Product(("b",))
    assert solve_sizes([(Product(("a", "b"), 2), 24), (a, 3)]) == {"a": 3, "b": 4}
    assert solve_sizes([(a, 3), (b, 4), (Product(("a", "b")), 12)]) == {"a": 3, "b": 4}
    assert solve_sizes([(a, 3), (a, 4)]) is None
    assert solve_sizes([(Product((), 5), 6)]) is None
    assert solve_sizes([(Product(("a",), 2), 5)]) is None


def test_another_size_of_the_same_operator() -> None:
    def view(b: int, s: int) -> tuple[torch.Tensor, list[int]]:
        return torch.zeros(b * s, 8), [b, s, 8]

    operator = infer_many("aten.view.default", [(view(3, 5), {}), (view(2, 7), {})])[0].operator
    call = infer_sizes(operator, view(1, 1), {})
    assert call is not None
    assert call.operator.shapes(call.sizes) == ((1, 8),)
    assert operator.bind(call.tensors, call.sizes)[0][1] == [1, 1, 8]


def test_constants_tensors_and_ranks_must_agree() -> None:
    x = torch.zeros(3, 5)
    operator = infer_many("aten._softmax.default", [((x, -1, False), {})])[0].operator
    assert infer_sizes(operator, (torch.zeros(2, 2), -1, False), {}) is not None
    assert infer_sizes(operator, (x, 0, False), {}) is None
    assert infer_sizes(operator, (torch.zeros(3), -1, False), {}) is None
    assert infer_sizes(operator, (3.0, -1, False), {}) is None
    assert infer_sizes(operator, (x, -1), {}) is None


def test_special_numbers_and_dtypes_are_compared_as_templates_hold_them() -> None:
    x = torch.zeros(3)
    clamp = infer_many("aten.clamp.default", [((x, float("-inf"), 6.0), {})])[0].operator
    assert infer_sizes(clamp, (x, float("-inf"), 6.0), {}) is not None
    assert infer_sizes(clamp, (x, float("inf"), 6.0), {}) is None
    cast = infer_many("aten._to_copy.default", [((x,), {"dtype": torch.bool})])[0].operator
    assert infer_sizes(cast, (x,), {"dtype": torch.bool, "device": "cpu"}) is not None
    assert infer_sizes(cast, (x,), {"dtype": torch.int64}) is None
