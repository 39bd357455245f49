"""Hypothesis strategies around observed activations, usable alone in anyone's `@given` test.

from hypothesis import given
from strategies import cases, from_corpus

@given(cases(from_corpus("aten._softmax.default")))
def test_my_softmax(case):
    x, = case.tensors          # numpy arrays, real activations or mutations around them
    ...
"""

from strategies.enumerated import enumerated_recipes
from strategies.realise import realise
from strategies.realism import realism
from strategies.recipe import PHASES, Recipe, Step
from strategies.recipes import cases, recipes
from strategies.seed_set import SeedSet, from_corpus, from_examples

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
