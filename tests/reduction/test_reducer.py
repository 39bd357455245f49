from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.operator import Index, Operator, Product, Slot
from tapml_fuzz.reduction import reduce_case
from tapml_fuzz.reduction.sizes import take
from tapml_fuzz.reduction.values import simpler_elements

A, B, C = (Product((n,)) for n in "abc")
MATMUL = Operator("aten.mm.default", (Slot(0), Slot(1)), {}, ((A, B), (B, C)), ("float32", "float32"))
EMBED = Operator("aten.embedding.default", (Slot(0), Slot(1)), {}, ((A, B), (C,)), ("float32", "int64"), (Index(1, A),))
SPLIT = Operator("aten.view.default", (Slot(0), [A, B]), {}, ((Product(("a", "b")),),), ("float32",))


def matmul(a: int, b: int, c: int) -> Case:
    random = np.random.default_rng(0)
    tensors = (random.normal(size=(a, b)).astype(np.float32), random.normal(size=(b, c)).astype(np.float32))
    return Case(MATMUL, {"a": a, "b": b, "c": c}, tensors, ("strided", "transposed"))


def test_reduces_to_the_elements_that_matter() -> None:
    """Fails when some row of x holds two values above 1, whatever the rest: two elements are enough."""
    asked: list[str] = []

    def fails(case: Case) -> bool:
        asked.append(case.id)
        x = case.tensors[0]
        return bool(((x > 1).sum(axis=1) >= 2).any())

    reduction = reduce_case(matmul(40, 30, 20), fails, seconds=20)
    case = reduction.case
    assert fails(case)
    assert case.sizes == {"a": 1, "b": 2, "c": 1}
    assert case.layouts == ("contiguous", "contiguous")
    assert case.tensors[0].tolist() == [[2.0, 2.0]]
    assert not case.tensors[1].any()
    assert len(set(asked[:-1])) == len(asked[:-1]), "no case is asked for twice"


def test_size_dependent_failure_keeps_its_size() -> None:
    reduction = reduce_case(matmul(4, 37, 5), lambda case: case.sizes["b"] % 32 == 5, seconds=20)
    assert reduction.case.sizes["b"] == 5
    assert reduction.case.sizes["a"] == reduction.case.sizes["c"] == 1


def test_time_limit_keeps_the_best_so_far() -> None:
    reduction = reduce_case(matmul(64, 64, 64), lambda case: case.elements > 10, seconds=0.0)
    assert reduction.attempts == 0
    assert reduction.case.elements == 2 * 64 * 64


def test_take_follows_indices_to_their_new_place() -> None:
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    case = Case(EMBED, {"a": 10, "b": 2, "c": 3}, (table, np.array([7, 2, 9])))
    smaller = take(case, "a", [2, 7])
    assert smaller.tensors[0].tolist() == [[4, 5], [14, 15]]
    assert smaller.tensors[1].tolist() == [1, 0, 0]


def test_take_cuts_inside_products() -> None:
    case = Case(SPLIT, {"a": 2, "b": 3}, (np.arange(6, dtype=np.float32),))
    assert take(case, "a", [1]).tensors[0].tolist() == [3, 4, 5]
    assert take(case, "b", [0, 2]).tensors[0].tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize(
    "value", [np.float32(0.123456), np.float16(-7.25), np.float32(np.nan), np.int64(17), np.bool_(True)]
)
def test_simplification_ends(value: np.generic) -> None:
    """Following any simpler value again and again comes to an end."""
    seen = 0
    while options := list(simpler_elements(value)):
        value = options[-1]
        seen += 1
        assert seen < 50
