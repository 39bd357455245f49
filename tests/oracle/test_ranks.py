"""Tensors of one axis or none, and without a batch axis: what torch takes has the same truth as among others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz import check
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import truth
from tests.oracle.catalogue import operator_of

ROW = np.array([0.5, -1.0, 2.0, 0.25, 3.0], np.float32)
ALONE = np.array(1.5, np.float32)
IMAGE = np.linspace(-2.0, 3.0, 24, dtype=np.float32).reshape(2, 3, 4)

# What follows the tensor among the arguments.
ALONG = [
    ("softmax.int", (-1,)),
    ("_softmax.default", (-1, False)),
    ("_safe_softmax.default", (0,)),
    ("log_softmax.int", (0,)),
    ("_log_softmax.default", (-1, False)),
    ("logsumexp.default", ([-1],)),
    ("logsumexp.default", ([0], True)),
    ("sum.dim_IntList", ([-1],)),
    ("mean.dim", ([0], True)),
    ("var.dim", ([0], False)),
    ("std.dim", ([-1], False, True)),
    ("linalg_vector_norm.default", (2, [-1])),
    ("norm.ScalarOpt_dim", (2, [0])),
    ("amax.default", ([-1],)),
    ("amin.default", ([0], True)),
    ("prod.dim_int", (-1,)),
    ("cumsum.default", (-1,)),
    ("cumprod.default", (0,)),
    ("logcumsumexp.default", (0,)),
    ("cummax.default", (0,)),
    ("max.dim", (-1,)),
    ("median.dim", (0, True)),
    ("sort.default", (-1,)),
    ("topk.default", (1, 0)),
]


def agrees_with_torch(name: str, args: list[Any]) -> None:
    """Shapes and values are torch's in float64, and every element is judged."""
    operator, tensors = operator_of(name, args, {})
    wanted = invoke.call(operator, [invoke.to_torch(t.astype(np.float64)) for t in tensors], {})
    found = truth(operator, tensors, {})
    assert found.shapes == tuple(tuple(w.shape) for w in wanted)
    assert found.unjudged == 0
    for value, bound, want in zip(found.values, found.bounds, wanted, strict=True):
        assert bound is None or bound.shape == value.shape
        np.testing.assert_allclose(value, want.numpy(), rtol=1e-12)


@pytest.mark.parametrize("x", [ROW, ROW[:1], ALONE], ids=["row", "one", "scalar"])
@pytest.mark.parametrize(("name", "rest"), ALONG, ids=lambda v: str(v))
def test_reductions_of_few_axes(name: str, rest: tuple[Any, ...], x: np.ndarray[Any, Any]) -> None:
    agrees_with_torch(f"aten.{name}", [x, *rest])


@pytest.mark.parametrize("name", ["aten._softmax.default", "aten._log_softmax.default"])
def test_bound_of_a_row_is_that_of_a_matrix_of_one_row(name: str) -> None:
    """The rescalings of the online algorithm count on a rising row however many axes there are."""
    x = np.linspace(-3.0, 3.0, 40, dtype=np.float32)
    alone, among = (truth(*operator_of(name, [t, -1, False], {}), {}).bounds[0] for t in (x, x[None]))
    assert alone is not None
    assert among is not None
    np.testing.assert_array_equal(alone, among[0])


@pytest.mark.parametrize("pool", ["avg_pool", "max_pool"])
@pytest.mark.parametrize(("axes", "given"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("batched", [False, True])
def test_pooling_without_a_batch_axis(pool: str, axes: int, given: int, batched: bool) -> None:
    """How many axes are pooled is the operator's, not to be read off the tensor or the kernel."""
    x = IMAGE if axes == 2 else IMAGE[0]
    agrees_with_torch(f"aten.{pool}{axes}d.default", [x[None] if batched else x, [2] * given])


@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize("shape", [(4,), ()])
def test_check_takes_few_axes(function: Any, shape: tuple[int, ...]) -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        return function(x, dim=-1) + 1e-3

    inputs = [(torch.randn(shape, generator=torch.Generator().manual_seed(2)),)]
    options: dict[str, Any] = {"attributes": {"dim": -1}, "inputs": inputs, "budget": "30trials"}
    report = check(function, lambda x: function(x, dim=-1), **options)
    assert report.ok, report
    assert report.trials >= 20
    assert not check(function, wrong, **options).ok
