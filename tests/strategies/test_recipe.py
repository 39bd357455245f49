"""The recipe as data."""

from __future__ import annotations

import msgspec
import pytest

from tapml_fuzz.strategies import PHASES, Recipe, Step
from tapml_fuzz.strategies.recipe import Phase


def test_a_recipe_survives_being_written_down() -> None:
    recipe = Recipe("specials", 3, 7, (("a", 0),), True, "float16", (Step("special", 1, 2.0, "nan"),), ("strided",))
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe
    assert len({recipe, msgspec.structs.replace(recipe), msgspec.structs.replace(recipe, rng_seed=8)}) == 2


def test_a_recipe_of_nothing_is_the_first_recorded_case() -> None:
    recipe = Recipe()
    assert (recipe.phase, recipe.seed_index, recipe.steps, recipe.sizes) == ("recorded", 0, (), ())
    assert PHASES[0] == "recorded"


def test_a_recipe_of_an_unknown_phase_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"phase": "seed"}, Recipe)
    assert all(msgspec.convert(phase, Phase) == phase for phase in PHASES)  # type: ignore[arg-type]
