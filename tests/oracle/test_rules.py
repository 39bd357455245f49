"""Every rule's value is torch's own float64 result, and data movement has no error at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import registry, truth
from tests.oracle.catalogue import CATALOGUE, Entry, drawing, operator_of

IDS = [f"{i}-{entry.name}" for i, entry in enumerate(CATALOGUE)]


@pytest.mark.parametrize("entry", CATALOGUE, ids=IDS)
@pytest.mark.parametrize("distribution", ["normal", "outliers", "sparse"])
def test_value_is_the_float64_result(entry: Entry, distribution: str) -> None:
    rng = np.random.default_rng(3)
    args, kwargs = entry.arguments(drawing(rng, distribution, "float64"), rng)
    operator, tensors = operator_of(entry.name, args, kwargs)
    expected = invoke.call(operator, [invoke.to_torch(t) for t in tensors], {})
    found = truth(operator, tensors, {})
    assert found.dtypes == tuple(str(e.dtype).removeprefix("torch.") for e in expected)
    assert found.shapes == tuple(tuple(e.shape) for e in expected)
    for value, bound, selection, want in zip(found.values, found.bounds, found.selections, expected, strict=True):
        if selection is not None:
            continue  # ties are free: the semantic comparison has tests of its own
        if not want.is_floating_point():
            np.testing.assert_array_equal(value, want.numpy())
            continue
        exact = want.numpy()
        with np.errstate(invalid="ignore"):
            loose = np.abs(exact) * 1e-12
            allowed = np.zeros(value.shape) if bound is None else np.where(np.isfinite(bound), bound, loose)
            same = (np.abs(value - exact) <= allowed) | (value == exact)
        assert (same | (np.isnan(value) & np.isnan(exact))).all()


def test_every_rule_is_in_the_catalogue_or_an_alias_of_one() -> None:
    """A new rule without an entry in the catalogue (and so without tests) fails here."""
    tried = set()
    for entry in CATALOGUE:
        rule = registry.lookup(invoke.resolve(entry.name))  # type: ignore[arg-type]
        tried.add(rule)
    named = {name: registry._RULES[name] for name in registry.names()}
    untried = sorted(name for name, rule in named.items() if rule not in tried)
    assert untried == []


@pytest.mark.parametrize("entry", [e for e in CATALOGUE if e.family == "movement"], ids=lambda e: e.name)
def test_movement_is_exact(entry: Entry) -> None:
    rng = np.random.default_rng(5)
    args, kwargs = entry.arguments(drawing(rng, "spread", "float32"), rng)
    operator, tensors = operator_of(entry.name, args, kwargs)
    assert set(truth(operator, tensors, {}).bounds) == {None}


@pytest.mark.parametrize(("name", "expected"), [("aten.fmax.default", [2, 2, 1]), ("aten.fmin.default", [1, 2, 1])])
def test_a_number_is_larger_and_smaller_than_nan(name: str, expected: list[float]) -> None:
    one, other = np.array([1, np.nan, 1], np.float32), np.array([2, 2, np.nan], np.float32)
    operator, tensors = operator_of(name, [one, other], {})
    found = truth(operator, tensors, {})
    np.testing.assert_array_equal(found.values[0], expected)
    assert found.bounds == (None,)


def test_integers_wrap_as_torch_does() -> None:
    operator, tensors = operator_of("aten.add.Tensor", [np.array([2**31 - 1], np.int32), np.array([1], np.int32)], {})
    found = truth(operator, tensors, {})
    assert found.dtypes == ("int32",)
    assert found.values[0].item() == -(2**31)
    assert found.bounds == (None,)


@pytest.mark.parametrize("name", ["aten.bitwise_and.Tensor", "aten.bitwise_or.Tensor", "aten.logical_and.default"])
def test_bits(name: str) -> None:
    one, other = np.array([True, True, False]), np.array([True, False, False])
    operator, tensors = operator_of(name, [one, other], {})
    want = invoke.resolve(name)(torch.from_numpy(one), torch.from_numpy(other))
    found = truth(operator, tensors, {})
    np.testing.assert_array_equal(found.values[0], want.numpy())
    assert found.bounds == (None,)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("aten.__lshift__.Scalar", [np.array([1, 3], np.int64), 4]),
        ("aten.__rshift__.Scalar", [np.array([64, 3], np.int64), 2]),
        ("aten.floor_divide.default", [np.array([7, -7], np.int64), np.array([2, 2], np.int64)]),
        ("aten.remainder.Scalar", [np.array([7, -7], np.int64), 3]),
        ("aten.bitwise_not.default", [np.array([True, False])]),
        ("aten.arange.start_step", [2, 11, 3]),
        ("aten.cumsum.default", [np.array([1, 2, 3], np.int64), 0]),
        ("aten.sum.default", [np.array([True, True, False])]),
        ("aten.full.default", [[2, 3], 0.1]),
        ("aten.scalar_tensor.default", [0.1]),
        ("aten.ones_like.default", [np.array([1.5, 2.5], np.float32)]),
        ("aten.full_like.default", [np.array([1.5, 2.5], np.float32), 0.1]),
    ],
)
def test_exact_operators(name: str, args: list[object]) -> None:
    operator, tensors = operator_of(name, args, {})
    (want,) = invoke.call(operator, [invoke.to_torch(t) for t in tensors], {})
    found = truth(operator, tensors, {})
    assert found.bounds == (None,)
    np.testing.assert_array_equal(found.values[0], want.to(torch.float64).numpy() if want.is_floating_point() else want)
