"""Masks and indices in other arrangements."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.operator import Index, Product
from tapml_fuzz.core.profile import profile_of
from tapml_fuzz.strategies import SeedSet, structure


def test_mask_arrangements() -> None:
    random = np.random.default_rng(0)
    array = np.ones((2, 4, 6), bool)
    profile = profile_of([array, ~array])
    assert not structure.mask("mask-all", array, profile, random).any()
    assert structure.mask("mask-none", ~array, profile, random).all()
    causal = structure.mask("mask-causal", array, profile, random)
    assert causal[0, 0].tolist() == [True] + 5 * [False]
    prefix = structure.mask("mask-prefix", array, profile, random)
    assert (np.diff(prefix.astype(int), axis=-1) <= 0).all()
    assert prefix[..., 0].all(), "a prefix shows one position at least"
    assert (~structure.mask("mask-row", array, profile, random)).all(-1).sum() == 1


def test_an_additive_mask_keeps_its_own_numbers() -> None:
    low = np.finfo(np.float32).min
    array = np.array([[0.0, low, low]], np.float32)
    found = structure.mask("mask-random", np.zeros((8, 16), np.float32), profile_of([array]), np.random.default_rng(1))
    assert found.dtype == np.float32
    assert set(np.unique(found).tolist()) == {float(low), 0.0}


@pytest.mark.parametrize(
    ("kind", "values"), [("index-first", {0}), ("index-last", {6}), ("index-repeat", None), ("index-random", None)]
)
def test_index_arrangements(kind: str, values: set[int] | None) -> None:
    ids = np.zeros((40, 2), np.int64)
    found = structure.index(kind, ids, Index(1, Product(("a",))), {"a": 7}, np.random.default_rng(0))
    seen = set(found.reshape(-1).tolist())
    assert found.dtype == ids.dtype
    assert found.shape == ids.shape
    assert seen <= set(range(7))
    assert values is None or seen == values
    assert len(seen) == {"index-random": 7}.get(kind, 1)


def test_negative_indices_only_where_they_are_legal() -> None:
    ids = np.zeros(200, np.int32)
    for negative, lowest in ((True, -7), (False, 0)):
        spec = Index(0, Product(("a",)), negative=negative)
        found = structure.index("index-negative", ids, spec, {"a": 7}, np.random.default_rng(0))
        assert found.min() == lowest
        assert found.max() == 6


def test_indices_out_of_range_come_back_into_it(embedding: SeedSet) -> None:
    table, ids = np.zeros((5, 3), np.float32), np.array([[0, 4, 5, 12]])
    sizes = {"a": 5, "b": 3, "c": 1, "d": 4}
    fixed = structure.valid_indices(embedding.operator, [table, ids], sizes)
    assert fixed is not None
    assert fixed[1].tolist() == [[0, 4, 0, 2]]
    assert structure.valid_indices(embedding.operator, [table[:0], ids], {**sizes, "a": 0}) is None
    assert structure.valid_indices(embedding.operator, [table[:0], ids[:, :0]], {**sizes, "a": 0, "d": 0}) is not None
