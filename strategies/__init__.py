"""Hypothesis strategies around observed activations, usable alone in anyone's `@given` test.

from hypothesis import given
from strategies import cases, from_corpus

@given(cases(from_corpus("aten._softmax.default")))
def test_my_softmax(case):
    x, = case.tensors          # numpy arrays, real activations or mutations around them
    ...
"""

from strategies.enumerated import opening
from strategies.realise import realise
from strategies.realism import realism
from strategies.recipes import PHASES, Recipe, Step, cases, recipes
from strategies.seed_set import Source, from_corpus, from_examples

__all__ = [
    "PHASES",
    "Recipe",
    "Source",
    "Step",
    "cases",
    "from_corpus",
    "from_examples",
    "opening",
    "realise",
    "realism",
    "recipes",
]
