"""Levels of realism."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.strategies import SeedSet, from_corpus, from_examples, realism


@pytest.fixture(scope="module")
def ramp() -> SeedSet:
    x = np.linspace(-3, 4, 12, dtype=np.float32).reshape(3, 4)
    return from_examples("aten._softmax.default", [((torch.from_numpy(x), -1, False), {})])


def level(seed_set: SeedSet, array: Array) -> str:
    return realism(seed_set.seeds[0].with_tensors((array.astype(np.float32),)), seed_set)


def test_realism_levels(ramp: SeedSet) -> None:
    x = ramp.seeds[0].tensors[0]
    assert realism(ramp.seeds[0], ramp) == "observed"
    assert level(ramp, x / 2) == "near"
    assert level(ramp, x * 3) == "extrapolated"
    assert level(ramp, np.where(x > 3, np.nan, x)) == "special"
    assert level(ramp, np.where(x > 3, np.inf, x)) == "special"
    assert level(ramp, np.where(x > 3, 1e-40, x)) == "special"
    assert level(ramp, np.where(x > 3, 3e38, x)) == "special"
    assert level(ramp, x[:0]) == "degenerate"


def test_an_edge_rounded_outward_is_still_near(ramp: SeedSet) -> None:
    x = ramp.seeds[0].tensors[0]
    assert level(ramp, np.where(x == x.max(), x * (1 + 2.0**-9), x)) == "near"
    assert level(ramp, np.where(x == x.max(), x * 1.1, x)) == "extrapolated"


def test_a_fully_masked_row_is_degenerate_where_none_was_seen() -> None:
    masks = from_corpus("bitwise_and")
    recorded = masks.seeds[0]
    shown = tuple(np.ones_like(t) for t in recorded.tensors)
    hidden = (*shown[:-1], np.zeros((*shown[-1].shape[:-1], 4), bool))
    assert realism(recorded.with_tensors(shown), masks) == "near"
    assert realism(recorded.with_tensors(hidden), masks) == "degenerate"
