"""The enumerated recipes: every single change once, in an order that covers much in few trials."""

from __future__ import annotations

import itertools

import pytest

from tapml_fuzz.core.case import LAYOUTS
from tapml_fuzz.strategies import PHASES, Recipe, SeedSet, enumerated_recipes, from_corpus, from_examples, realise
from tapml_fuzz.strategies.multi_mutation import multi_mutation_recipes
from tapml_fuzz.strategies.recipes import FLOAT_STEPS
from tapml_fuzz.strategies.shapes import BOUNDARY_SIZES, LONG_SIZE, TELLING_SIZES
from tapml_fuzz.strategies.specials import SPECIALS


def test_the_same_seed_gives_the_same_order(softmax: SeedSet) -> None:
    assert enumerated_recipes(softmax, seed=1) == enumerated_recipes(softmax, seed=1)
    assert enumerated_recipes(softmax, seed=1) != enumerated_recipes(softmax, seed=2)


def test_every_single_change_is_there(softmax: SeedSet) -> None:
    found = enumerated_recipes(softmax)
    steps = {(s.kind, s.amount, s.name) for recipe in found for s in recipe.steps}
    assert {(kind, amount, "") for kind, amounts in FLOAT_STEPS.items() for amount in amounts} <= steps
    assert {("special", spread, name) for name in SPECIALS for spread in (0.0, 2.0)} <= steps
    alone = {recipe.sizes for recipe in found if len(recipe.sizes) == 1}
    wanted = {((axis, size),) for axis in "abcd" for size in {*BOUNDARY_SIZES, *TELLING_SIZES, 0}}
    assert wanted <= alone
    assert {dict(recipe.sizes).get(axis) for recipe in found for axis in "abcd"} >= {LONG_SIZE}
    assert {(layout,) for layout in LAYOUTS[1:]} <= {recipe.layouts for recipe in found}


def test_each_tensor_has_every_layout_alone_too() -> None:
    seed_set = from_corpus("addmm")
    layouts = {recipe.layouts for recipe in enumerated_recipes(seed_set) if recipe.phase == "recorded"}
    for layout in LAYOUTS[1:]:
        for slot in range(3):
            assert tuple(layout if s == slot else LAYOUTS[0] for s in range(3)) in layouts


def test_what_changes_much_comes_first_and_the_rest_takes_turns(softmax: SeedSet) -> None:
    found = enumerated_recipes(softmax)
    first = len([r for r in found[:40] if r.sizes])
    assert first >= 12
    assert {recipe.phase for recipe in found[:40]} >= {"shapes", "values", "specials", "structure"}
    assert {recipe.seed_index for recipe in found} == set(range(len(softmax.seeds)))


def test_only_the_phases_asked_for(softmax: SeedSet) -> None:
    for phase in PHASES:
        assert {recipe.phase for recipe in enumerated_recipes(softmax, phases=(phase,))} <= {phase, "recorded"}
    shapeless = enumerated_recipes(softmax, phases=("recorded", "values"))
    assert all(recipe.sizes == () for recipe in shapeless)
    assert all(recipe.layouts == () for recipe in enumerated_recipes(softmax, strided=False))


def test_most_recipes_keep_the_recorded_dtype_where_they_may(softmax: SeedSet) -> None:
    found = enumerated_recipes(softmax, dtypes=("", "float16", "bfloat16"))
    share = sum(recipe.dtype == "" for recipe in found) / len(found)
    assert 0.6 < share < 0.7
    assert {recipe.dtype for recipe in found} == {"", "float16", "bfloat16"}
    assert {recipe.dtype for recipe in enumerated_recipes(softmax, dtypes=("float16",))} == {"float16"}


def test_the_largest_tensor_is_changed_first() -> None:
    found = enumerated_recipes(from_corpus("addmm"), phases=("values",), strided=False)
    single = [recipe.steps[0].slot for recipe in found if len(recipe.steps) == 1 and recipe.steps[0].kind == "scale"]
    assert single[0] == 2  # weights [c, a], beside a bias and eight rows
    assert list(dict.fromkeys(single))[-1] == 0


@pytest.mark.parametrize("name", ["embedding", "where", "bitwise_and"])
def test_every_recipe_can_be_realised_or_has_no_case(name: str) -> None:
    seed_set = from_corpus(name)
    made = [realise(recipe, seed_set, 2048) for recipe in itertools.islice(enumerated_recipes(seed_set), 60)]
    assert sum(case is not None for case in made) > 45


def test_an_operator_of_integers_has_recipes_too() -> None:
    import torch

    counted = from_examples("aten.add.Tensor", [((torch.arange(6).reshape(2, 3), torch.arange(3)), {})])
    kinds = {step.kind for recipe in enumerated_recipes(counted) for step in recipe.steps}
    assert {"finite-rows", "special"} <= kinds
    assert "scale" not in kinds


def test_the_first_recipes_are_the_first_turn_of_several_changes(softmax: SeedSet) -> None:
    import numpy as np

    several = multi_mutation_recipes(softmax, random=np.random.Generator(np.random.SFC64(0)))
    found: list[Recipe] = enumerated_recipes(softmax)[: len(several)]
    assert [(r.phase, r.sizes, r.steps) for r in found] == [(r.phase, r.sizes, r.steps) for r in several]
