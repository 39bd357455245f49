"""topk(sorted=False): any order is right, as long as every value stands where its index does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapml_fuzz import check
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.judge import judge
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import NoTruth, truth
from tests.oracle.catalogue import operator_of
from tests.oracle.support import verdict_on

TOPK = "aten.topk.default"
X = np.array([[4.0, np.nan, -1.0, 4.0, 7.0, 0.5], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], np.float32)
ORDERS = [[0, 1, 2], [2, 1, 0], [1, 2, 0]]


def _top(largest: bool) -> tuple[Array, Array]:
    values, indices = torch.topk(torch.from_numpy(X), 3, -1, largest, True)
    return values.numpy(), indices.numpy()


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_any_order_is_right(order: list[int], largest: bool, dtype: str) -> None:
    x = np.nan_to_num(X, nan=9.0).astype(dtype) if dtype == "int64" else X.astype(dtype)
    values, indices = (t.numpy() for t in torch.topk(torch.from_numpy(x), 3, -1, largest, True))
    outputs = values[:, order], indices[:, order]
    assert verdict_on(outputs, TOPK, [x, 3, -1, largest, False]).kind is None
    sorted_too = verdict_on(outputs, TOPK, [x, 3, -1, largest, True]).kind
    assert (sorted_too is None) == (order == ORDERS[0])


@pytest.mark.parametrize("largest", [True, False])
def test_a_value_beside_the_index_of_another_is_wrong(largest: bool) -> None:
    values, indices = _top(largest)
    call = [X, 3, -1, largest, False]
    assert verdict_on((values, indices[:, [1, 2, 0]]), TOPK, call).failed
    assert verdict_on((values[:, [1, 2, 0]], indices), TOPK, call).failed


def test_what_is_not_among_the_largest_is_wrong() -> None:
    values, indices = _top(True)
    call = [X, 3, -1, True, False]
    for place, wrong in ((0, 2), (1, 0), (2, 6), (2, -1)):
        others = indices.copy()
        others[1, place] = wrong
        taken = np.take_along_axis(X, others.clip(0, 5), 1)
        assert verdict_on((taken, others), TOPK, call).failed, (place, wrong)
    twice = indices.copy()
    twice[1, 1] = twice[1, 0]
    assert verdict_on((np.take_along_axis(X, twice, 1), twice), TOPK, call).failed
    assert verdict_on((values + 1, indices), TOPK, call).failed


def both_ends(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    high, low = (torch.topk(x * 3, 2, 0, largest, False) for largest in (True, False))
    return high.values, high.indices, low.values


def test_each_call_has_an_order_of_its_own() -> None:
    x = np.random.default_rng(1).standard_normal((9, 5)).astype(np.float32)
    operator, tensors = operator_of(invoke.register("python:test.both_ends", both_ends), [x], {})
    expected = truth(operator, tensors, {})
    high, places, low = (t.numpy() for t in both_ends(torch.from_numpy(x)))
    case = Case(operator, {}, tensors)
    for outputs in ((high, places, low[::-1]), (high[::-1], places[::-1], low)):
        assert judge(case, Ok(outputs), expected).kind is None
    assert judge(case, Ok((high[::-1], places, low)), expected).failed
    assert judge(case, Ok((high, places, low + 1)), expected).failed


def test_what_goes_on_in_that_order_has_no_truth() -> None:
    def first(x: torch.Tensor) -> torch.Tensor:
        return torch.topk(x, 3, sorted=False).values[..., 0]

    def only(x: torch.Tensor) -> torch.Tensor:
        return torch.topk(x, 1, sorted=False).values[..., 0]

    for function, told in ((first, False), (only, True)):
        operator, tensors = operator_of(invoke.register("python:test.picked", function), [X], {})
        if told:
            np.testing.assert_array_equal(truth(operator, tensors, {}).values[0], [np.nan, 6.0])
        else:
            with pytest.raises(NoTruth, match="order"):
                truth(operator, tensors, {})


def test_check_takes_a_candidate_that_gives_another_order() -> None:
    def backwards(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(t.flip(-1) for t in torch.topk(x, 3))

    def shuffled(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, indices = torch.topk(x, 3)
        return values.flip(-1), indices

    call = {"inputs": [(torch.randn(4, 9),)], "attributes": {"k": 3, "sorted": False}, "budget": "60trials"}
    assert check(TOPK, backwards, **call).ok  # type: ignore[arg-type]
    assert not check(TOPK, shuffled, **call).ok  # type: ignore[arg-type]
