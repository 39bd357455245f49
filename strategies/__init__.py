"""Hypothesis strategies around observed activations, usable alone in anyone's `@given` test.

from hypothesis import given
from tapml_fuzz.strategies import cases, from_corpus

@given(cases(from_corpus("aten._softmax.default")))
def test_my_softmax(case):
    x, = case.tensors          # numpy arrays, real activations or mutations around them
    ...
"""

from tapml_fuzz.strategies.enumerated import enumerated_recipes
from tapml_fuzz.strategies.realise import realise
from tapml_fuzz.strategies.realism import realism
from tapml_fuzz.strategies.recipe import PHASES, Recipe, Step
from tapml_fuzz.strategies.recipes import cases, recipes
from tapml_fuzz.strategies.seed_set import SeedSet, from_corpus, from_examples

__all__ = [
    "PHASES",
    "Recipe",
    "SeedSet",
    "Step",
    "cases",
    "enumerated_recipes",
    "from_corpus",
    "from_examples",
    "realise",
    "realism",
    "recipes",
]
