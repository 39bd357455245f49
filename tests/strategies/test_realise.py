"""From recipes to cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tapml_fuzz.core.profile import profile_of
from tapml_fuzz.strategies import Recipe, SeedSet, Step, realise, recipes

quick = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def test_same_recipe_gives_same_bytes(softmax: SeedSet) -> None:
    @quick
    @given(recipes(softmax, dtypes=("", "bfloat16")))
    def check(recipe: Recipe) -> None:
        first, second = realise(recipe, softmax), realise(recipe, softmax)
        assert (first is None) == (second is None)
        assert first is None or second is None or first.id == second.id

    check()


def test_a_recipe_that_changes_nothing_is_the_recorded_call(softmax: SeedSet) -> None:
    for number, recorded in enumerate(softmax.seeds):
        case = realise(Recipe(seed_index=number), softmax)
        assert case is not None
        assert case.id == recorded.id
        assert case.origin == recorded.origin
    assert case.id == realise(Recipe(seed_index=number + len(softmax.seeds)), softmax).id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("recorded", dtype="float16"),
        Recipe("recorded", layouts=("strided",)),
        Recipe("recorded", sizes=(("d", 7),)),
        Recipe("recorded", steps=(Step("scale", 0, 2.0),)),
    ],
    ids=["dtype", "layout", "size", "step"],
)
def test_a_changed_call_is_no_longer_as_recorded(softmax: SeedSet, recipe: Recipe) -> None:
    case = realise(recipe, softmax)
    assert case is not None
    assert case.origin == "recorded"


def test_sizes_are_met_and_the_others_give_way(softmax: SeedSet) -> None:
    case = realise(Recipe("shapes", sizes=(("d", 1025),)), softmax, max_elements=5000)
    assert case is not None
    assert case.sizes["d"] == case.shapes[0][-1] == 1025
    assert case.elements <= 5000


def test_recorded_values_repeat_unless_they_are_drawn_afresh(softmax: SeedSet) -> None:
    recorded = softmax.seeds[0].tensors[0]
    sizes = (("d", recorded.shape[-1] + 3),)
    repeated = realise(Recipe("shapes", sizes=sizes), softmax, 1 << 20)
    assert repeated is not None
    assert np.array_equal(repeated.tensors[0][..., -3:], recorded[..., :3])
    refilled = realise(Recipe("shapes", sizes=sizes, refill=True, rng_seed=1), softmax, 1 << 20)
    assert refilled is not None
    assert not np.isin(refilled.tensors[0], recorded).all()
    fresh, profile = profile_of([refilled.tensors[0]]), softmax.profiles[0]
    assert profile.low <= fresh.low <= fresh.high <= profile.high


def test_no_index_points_into_an_empty_axis(embedding: SeedSet) -> None:
    assert realise(Recipe("shapes", sizes=(("a", 0),)), embedding) is None
    nothing = realise(Recipe("shapes", sizes=(("a", 0), ("d", 0))), embedding)
    assert nothing is not None
    assert nothing.tensors[1].size == 0


def test_steps_are_applied_in_their_order(softmax: SeedSet) -> None:
    first, second = Step("scale", 0, 2.0), Step("special", 0, 2.0, "one")
    ones = realise(Recipe("values", steps=(first, second)), softmax)
    twos = realise(Recipe("values", steps=(second, first)), softmax)
    assert ones is not None
    assert twos is not None
    assert (ones.tensors[0] == 1).all()
    assert (twos.tensors[0] == 2).all()


def test_an_unknown_mutation_is_an_error(softmax: SeedSet) -> None:
    with pytest.raises(ValueError, match="unknown mutation 'turn'"):
        realise(Recipe("values", steps=(Step("turn", 0),)), softmax)
