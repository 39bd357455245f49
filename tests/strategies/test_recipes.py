"""Drawn recipes and cases, as a user's own `@given` test would use them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from tapml_fuzz.core.case import Case
from tapml_fuzz.operators.invoke import call, to_torch
from tapml_fuzz.strategies import (
    PHASES,
    Recipe,
    SeedSet,
    Step,
    cases,
    from_corpus,
    from_examples,
    realism,
    recipes,
    specials,
)
from tapml_fuzz.strategies.recipes import structure_choices
from tapml_fuzz.strategies.structure import MASK_STEPS

quick = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


T = TypeVar("T")


def drawn(seed_set: SeedSet, count: int = 150, **options: object) -> list[Case]:
    return collected(cases(seed_set, **options), count)  # type: ignore[arg-type]


def collected(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    found: list[T] = []

    @seed(5)
    @settings(quick, max_examples=count, phases=[Phase.generate])
    @given(strategy)
    def collect(one: T) -> None:
        found.append(one)

    collect()
    return found


@pytest.mark.parametrize(
    "name", ["softmax", "embedding", "native_layer_norm", "addmm", "where", "view", "index", "sum"]
)
def test_reference_accepts_every_drawn_case(name: str) -> None:
    seed_set = from_corpus(name)
    for case in drawn(seed_set, 80):
        assert case.shapes == seed_set.operator.shapes(case.sizes)
        call(case.operator, [to_torch(t.copy()) for t in case.tensors], case.sizes)


def test_all_phases_and_boundaries_are_reached(softmax: SeedSet) -> None:
    found = drawn(softmax, 400)
    assert {case.origin.split(":")[0] for case in found} == {*PHASES, "seed"} - {"recorded"}
    sizes = {n for case in found for n in case.sizes.values()}
    assert {0, 1, 31, 33, 127, 1025} & sizes
    assert any(np.isnan(t).any() for case in found for t in case.tensors)
    assert {"observed", "near", "special", "degenerate"} <= {realism(case, softmax) for case in found}


def test_cases_stay_within_the_element_bound(softmax: SeedSet) -> None:
    assert max(c.elements for c in drawn(softmax, 150, max_elements=4096, phases=["shapes"])) <= 4096


def test_indices_stay_valid_in_every_phase(embedding: SeedSet) -> None:
    (index,) = embedding.operator.indexes
    found = drawn(embedding, 300)
    for case in found:
        ids, extent = case.tensors[index.slot], index.extent.value(case.sizes)
        assert not ids.size or (ids.min() >= 0 and ids.max() < extent)
    assert any(c.tensors[index.slot].size and (c.tensors[index.slot] == c.sizes["a"] - 1).all() for c in found)


def test_shrinking_ends_at_a_simple_recipe(softmax: SeedSet) -> None:
    recipe = find(
        recipes(softmax), lambda r: any(s.kind == "special" for s in r.steps), settings=settings(database=None)
    )
    assert recipe.seed_index == 0
    assert recipe.sizes == ()
    assert recipe.layouts == ()
    assert recipe.steps == (Step("special", 0, 0.0, specials.SPECIALS[0]),)


def test_only_the_phases_and_dtypes_asked_for_are_drawn(softmax: SeedSet) -> None:
    found = collected(recipes(softmax, phases=("values",), dtypes=("", "bfloat16"), strided=False), 60)
    assert {recipe.phase for recipe in found} == {"values"}
    assert {recipe.dtype for recipe in found} == {"", "bfloat16"}
    assert all(recipe.sizes == () and recipe.layouts == () and recipe.steps for recipe in found)


def test_a_phase_that_does_not_apply_is_left_out() -> None:
    masks = from_corpus("bitwise_and")  # booleans alone: no value of theirs can be larger, or special
    assert {recipe.phase for recipe in collected(recipes(masks, phases=("values", "specials")), 20)} == {"recorded"}
    assert {recipe.phase for recipe in collected(recipes(masks, phases=("values", "structure")), 20)} == {"structure"}


def test_rearrangements_fit_what_an_argument_is(embedding: SeedSet) -> None:
    kinds = {slot: {kind for kind, at in structure_choices(embedding) if at == slot} for slot in (0, 1)}
    assert all(kind.startswith("index-") for kind in kinds[1])
    assert kinds[0] == {"equal-rows", "equal-elements", "sorted-ascending", "sorted-descending"}
    masked = structure_choices(from_corpus("bitwise_and"))
    assert masked
    assert all(kind.startswith("mask-") for kind, _ in masked)


@quick
@given(st.data())
def test_users_own_test_with_examples(data: st.DataObject) -> None:
    seed_set = from_examples("aten.add.Tensor", [((torch.randn(3, 4), torch.randn(4)), {})])
    case = data.draw(cases(seed_set, phases=["shapes", "values"]))
    x, y = case.tensors
    assert x.shape[-1] == y.shape[-1]


def test_no_entropy_is_drawn_where_nothing_is_random(softmax: SeedSet) -> None:
    assert set(collected(recipes(softmax, phases=("recorded",), strided=False), 40)) == {
        Recipe("recorded", number) for number in range(len(softmax.seeds))
    }


def test_an_additive_mask_is_rearranged_as_a_mask_only() -> None:
    mask = torch.tensor([[0.0, 0.0, -65504.0]])
    masked = from_examples("aten.add.Tensor", [((torch.randn(2, 3), mask), {})])
    assert {kind for kind, slot in structure_choices(masked) if slot == 1} == set(MASK_STEPS)
