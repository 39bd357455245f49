"""The recipe: a short, shrinkable program of mutations, from which numpy makes a case."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from tapml_fuzz.core.case import Layout

Phase = Literal["recorded", "shapes", "values", "structure", "specials"]
# What each phase adds: nothing, other sizes, other values, other structure, special numbers.
PHASES: tuple[Phase, ...] = get_args(Phase)


class Step(msgspec.Struct, frozen=True):
    """One mutation of one tensor.

    Attributes:
        kind: the mutation, a name that `strategies.realise` knows.
        slot: place of the tensor among the operator's tensor arguments.
        amount: how strong the mutation is, in the unit of its kind (a factor, interquartile ranges, a spread).
        name: the special number, where the kind places one.
    """

    kind: str
    slot: int
    amount: float = 0.0
    name: str = ""


class Recipe(msgspec.Struct, frozen=True):
    """Everything that determines a case, given its seed set.

    Attributes:
        phase: what the recipe is about.
        seed_index: number of the recorded case it starts from.
        rng_seed: seed of the random generator behind refilled and chosen values.
        sizes: axes given another size.
        refill: whether tensors of another shape are drawn afresh from the profile (otherwise recorded values repeat).
        dtype: floating dtype the floating tensors are cast to; empty for the recorded one.
        steps: mutations, applied in order.
        layouts: memory layout per slot; empty for all packed.
    """

    phase: Phase = "recorded"
    seed_index: int = 0
    rng_seed: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    refill: bool = False
    dtype: str = ""
    steps: tuple[Step, ...] = ()
    layouts: tuple[Layout, ...] = ()
