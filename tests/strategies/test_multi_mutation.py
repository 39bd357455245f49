"""Recipes that change much at once."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.strategies import Recipe, SeedSet, from_corpus
from tapml_fuzz.strategies.multi_mutation import leading, multi_mutation_recipes
from tapml_fuzz.strategies.shapes import TELLING_SIZES, elements


def made(seed_set: SeedSet, turn: int = 0, **options: object) -> list[Recipe]:
    random = np.random.Generator(np.random.SFC64(0))
    return multi_mutation_recipes(seed_set, turn=turn, random=random, **options)  # type: ignore[arg-type]


def test_leading_axes_are_the_last_ones_and_those_that_indices_reach_into(softmax: SeedSet, embedding: SeedSet) -> None:
    assert leading(softmax) == ["d"]
    assert leading(embedding) == ["b", "d", "a"]


def test_every_telling_size_of_every_leading_axis_is_tried(embedding: SeedSet) -> None:
    sizes = [dict(recipe.sizes) for recipe in made(embedding)]
    for axis in leading(embedding):
        assert {size[axis] for size in sizes} >= set(TELLING_SIZES), axis
    assert any(len(set(size.values())) == 1 and len(size) > 1 for size in sizes), "a square"


def test_sizes_fit_and_fixed_axes_stay(view: SeedSet) -> None:
    for recipe in made(view):
        assert {axis for axis, _ in recipe.sizes} <= {"c"}
    softmax = from_corpus("softmax")
    assert all(elements(softmax.operator, dict(recipe.sizes)) <= 17**4 for recipe in made(softmax))


def test_what_one_turn_leaves_as_recorded_another_fills(softmax: SeedSet) -> None:
    turns = [made(softmax, turn) for turn in range(3)]
    assert len({len(turn) for turn in turns}) == 1
    for together in zip(*turns, strict=True):
        assert sorted(recipe.phase for recipe in together) == ["shapes", "specials", "values"]
    rows = {s.kind for turn in turns for recipe in turn for s in recipe.steps}
    assert {"finite-rows", "special-rows"} <= rows


def test_spreading_changes_are_left_to_every_third(softmax: SeedSet) -> None:
    for number, recipe in enumerate(made(softmax)):
        assert any(s.kind == "special-rows" for s in recipe.steps) == (number % 3 == 2)


@pytest.mark.parametrize("phases", [("recorded",), ("recorded", "values")])
def test_phases_and_layouts_that_are_not_asked_for_stay_away(softmax: SeedSet, phases: tuple[str, ...]) -> None:
    for recipe in made(softmax, phases=phases, strided=False):
        assert recipe.phase in phases
        assert recipe.sizes == ()
        assert recipe.layouts == ()
        assert {s.kind for s in recipe.steps} <= ({"finite-rows"} if "values" in phases else set())


def test_every_fourth_recipe_changes_all_tensors() -> None:
    found = made(from_corpus("addmm"))
    changed = [{s.slot for s in recipe.steps if s.kind.endswith("-rows")} for recipe in found]
    assert {0, 1, 2} in changed
    assert {frozenset(c) for c in changed if len(c) == 1} == {frozenset({n}) for n in range(3)}
