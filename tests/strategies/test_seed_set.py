"""Seed sets from the corpus and from examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapml_fuzz.core.errors import BadInputs, UnknownOperator
from tapml_fuzz.strategies import SeedSet, from_corpus, from_examples


def test_a_corpus_entry_is_found_by_name_short_name_or_key(softmax: SeedSet) -> None:
    for text in (softmax.operator.name, softmax.operator.key, "soft*"):
        assert from_corpus(text).operator == softmax.operator
    assert len(softmax.profiles) == len(softmax.operator.dtypes) == 1
    assert all(case.origin.startswith("seed:") for case in softmax.seeds)


def test_unknown_operator_names_the_hint() -> None:
    with pytest.raises(UnknownOperator, match="corpus list"):
        from_corpus("aten.nosuch.default")


def test_slots_are_told_apart(softmax: SeedSet, embedding: SeedSet) -> None:
    assert (softmax.floating_slots, softmax.index_slots) == ((0,), ())
    assert (embedding.floating_slots, embedding.integer_slots, embedding.index_slots) == ((0,), (), (1,))
    assert from_corpus("bitwise_and").mask_slots == (0, 1)
    counted = from_examples("aten.add.Tensor", [((torch.arange(4), torch.arange(4)), {})])
    assert (counted.integer_slots, counted.index_slots) == ((0, 1), ())


def test_extents_are_those_seen(softmax: SeedSet) -> None:
    assert softmax.extents["d"] == tuple(sorted({case.shapes[0][-1] for case in softmax.seeds}))


def test_examples_tell_which_axes_agree_and_what_values_are_like() -> None:
    calls = [((torch.full((n, 4), float(n)), np.ones(4, np.float32)), {}) for n in (2, 3)]
    found = from_examples("aten.mul.Tensor", calls)
    rows, columns = found.operator.axes[0]
    assert found.operator.axes[1] == (columns,)
    assert [case.sizes[rows.axes[0]] for case in found.seeds] == [2, 3]
    assert (found.profiles[0].low, found.profiles[0].high) == (2.0, 3.0)
    assert [case.origin for case in found.seeds] == ["seed:example-0", "seed:example-1"]


def test_axes_that_are_named_are_taken_as_named() -> None:
    found = from_examples("aten.add.Tensor", [((torch.ones(3, 3), torch.ones(3, 3)), {})], axes=[["n", 3], ["n", 3]])
    assert found.operator.axis_names == ("n",)
    assert found.seeds[0].sizes == {"n": 3}
    assert found.operator.shapes({"n": 5}) == ((5, 3), (5, 3))


@pytest.mark.parametrize(
    ("name", "given"),
    [("aten.neg.default", torch.ones(2, dtype=torch.complex64)), ("aten.scalar_tensor.default", 1.0)],
    ids=["complex", "no tensor"],
)
def test_examples_without_real_tensors_are_refused(name: str, given: object) -> None:
    with pytest.raises(BadInputs, match="real tensors"):
        from_examples(name, [((given,), {})])
