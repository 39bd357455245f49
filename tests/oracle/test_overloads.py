"""Overloads that share a packet or a name with others: each by a rule that fits it, however its arguments are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.operator import DType
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import Truth, truth
from tests.oracle.catalogue import operator_of
from tests.oracle.support import run_torch, truth_of, verdict_on

RNG = np.random.default_rng(11)
CACHE = RNG.standard_normal((2, 3, 8, 4)).astype(np.float32)
STEP = RNG.standard_normal((2, 3, 2, 4)).astype(np.float32)
PLACES = np.array([5, 2])
INDEX_COPY = "aten.index_copy.default"


def static_cache(cache: torch.Tensor, step: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    kept = cache.clone()
    kept.index_copy_(2, places, step)
    return kept


def static_cache_in_layers(cache: torch.Tensor, step: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Written through a view, which the oracle follows in a functional twin of the program."""
    kept = cache.clone()
    for layer, rows in zip(kept.unbind(0), step.unbind(0), strict=True):
        layer.index_copy_(1, places, rows)
    return kept


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "bool"])
def test_index_copy_is_exact(dtype: str) -> None:
    args = [t > 0 if dtype == "bool" else (t * 4).astype(dtype) for t in (CACHE, STEP)]
    call = [args[0], 2, PLACES, args[1]]
    (right,) = run_torch(INDEX_COPY, call)
    assert truth_of(INDEX_COPY, call).bounds == (None,)
    assert verdict_on(right, INDEX_COPY, call).kind is None
    elsewhere = np.where(right == args[0], right, np.roll(right, 1, axis=2))
    assert verdict_on(elsewhere, INDEX_COPY, call).kind == "wrong"


@pytest.mark.parametrize("shape", [(1,), ()])
def test_index_copy_into_a_scalar(shape: tuple[int, ...]) -> None:
    call = [np.array(1.0, np.float32), 0, np.array([0]), np.full(shape, 0.1, np.float32)]
    found = truth_of(INDEX_COPY, call)
    assert found.bounds == (None,)
    assert found.values[0] == np.float32(0.1)


def test_index_copy_to_one_place_twice_may_keep_either() -> None:
    call = [CACHE, 2, np.array([5, 5]), STEP]
    found = truth_of(INDEX_COPY, call)
    assert found.bounds[0] is not None
    assert np.isinf(found.bounds[0][:, :, 5]).all()
    assert np.isfinite(np.delete(found.bounds[0], 5, axis=2)).all()


def _of(function: Any, *args: np.ndarray[Any, Any]) -> tuple[Truth, np.ndarray[Any, Any]]:
    name = invoke.register(f"python:test.{function.__name__}", function)
    operator, tensors = operator_of(name, list(args), {})
    return truth(operator, tensors, {}), function(*(invoke.to_torch(a) for a in args)).numpy()


@pytest.mark.parametrize("function", [static_cache, static_cache_in_layers])
def test_static_cache_is_exact(function: Any) -> None:
    found, own = _of(function, CACHE, STEP, PLACES)
    assert found.bounds == (None,)
    np.testing.assert_array_equal(found.values[0], own)


def test_places_that_rounding_decides_are_unjudged() -> None:
    def rounded(cache: torch.Tensor, step: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return cache.index_copy(2, (at * 3).long(), step)

    near, _ = _of(rounded, CACHE, STEP, np.array([1 / 3, 2.0], np.float32))
    clear, _ = _of(rounded, CACHE, STEP, np.array([0.5, 2.1], np.float32))
    assert near.unjudged == CACHE.size
    assert clear.unjudged == 0


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (CACHE, "int32"),
        (CACHE, "int16"),
        (CACHE, "float16"),
        (CACHE.view(np.int32), "float32"),
        (CACHE.astype(np.float16), "float32"),
    ],
)
def test_bits_as_another_dtype(x: np.ndarray[Any, Any], dtype: str) -> None:
    """Not the bits of the float64 that the oracle holds a float in."""
    call = [x, DType(dtype)]
    found = truth_of("aten.view.dtype", call)
    assert found.bounds == (None,)
    assert verdict_on(run_torch("aten.view.dtype", call), "aten.view.dtype", call).kind is None
    wrong = run_torch("aten.view.dtype", [-x - 1, DType(dtype)])
    assert verdict_on(wrong, "aten.view.dtype", call).kind is not None


def test_bits_of_a_rounded_value_are_unjudged() -> None:
    def bits(x: torch.Tensor) -> torch.Tensor:
        return (x / 3).view(torch.int32)

    assert _of(bits, CACHE)[0].unjudged == CACHE.size


@pytest.mark.parametrize(("dtype", "places"), [("int32", [1]), ("int16", [2, 3]), ("int64", [0])])
def test_bits_of_a_nan_are_unjudged(dtype: str, places: list[int]) -> None:
    """Its sign and payload may differ; wherever its bits go, the others beside them are judged."""
    call = [np.array([1.5, np.nan, -2.0, 3.0], np.float32), DType(dtype)]
    bound = truth_of("aten.view.dtype", call).bounds[0]
    assert bound is not None
    assert np.flatnonzero(bound).tolist() == places
    (right,) = run_torch("aten.view.dtype", call)
    for place in range(right.size):
        changed = right.copy()
        changed[place] ^= 1
        assert (verdict_on(changed, "aten.view.dtype", call).kind is None) == (place in places)


ONE, OTHER, BIAS = (RNG.standard_normal(s).astype(np.float16) for s in ((3, 5, 16), (3, 16, 7), (7,)))


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("mm", [ONE[0], OTHER[0]], {}),
        ("bmm", [ONE, OTHER], {}),
        ("addmm", [BIAS, ONE[0], OTHER[0]], {"beta": 0.5, "alpha": 2.0}),
        ("baddbmm", [BIAS, ONE, OTHER], {}),
    ],
)
def test_products_of_halves_in_single(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """What only CUDA runs is the product of the same numbers, and as accurate, with nothing stored as a half."""
    halves = truth_of(f"aten.{name}.dtype", [*args, DType("float32")], kwargs)
    single = truth_of(f"aten.{name}.default", [a.astype(np.float32) for a in args], kwargs)
    assert halves.dtypes == ("float32",)
    np.testing.assert_array_equal(halves.values[0], single.values[0])
    assert halves.bounds[0] is not None
    assert single.bounds[0] is not None
    np.testing.assert_array_equal(halves.bounds[0], single.bounds[0])


ROWS = RNG.standard_normal((2, 6, 10)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("aten.pad.default", [ROWS], {"pad": [1, 2], "mode": "reflect"}),
        ("aten.pad.default", [ROWS, [1, 2]], {"value": 0.5}),
        ("aten.group_norm.default", [ROWS], {"num_groups": 3}),
        ("aten.layer_norm.default", [ROWS], {"normalized_shape": [10], "cudnn_enable": False}),
        ("aten.native_group_norm.default", [ROWS, None, None], {"N": 2, "C": 6, "HxW": 10, "group": 3, "eps": 1e-5}),
        ("aten.topk.default", [ROWS], {"k": 2, "largest": False}),
        ("aten.var.dim", [ROWS], {"dim": [1], "keepdim": True}),
        ("aten.sort.stable", [ROWS], {"stable": True, "descending": True}),
    ],
)
def test_arguments_by_name(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """As `check`'s attributes and exported programs give them."""
    outputs = run_torch(name, args, kwargs)
    assert verdict_on(outputs, name, args, kwargs).kind is None
    assert verdict_on(tuple(o[..., ::-1] for o in outputs), name, args, kwargs).kind is not None
