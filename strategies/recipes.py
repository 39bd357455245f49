"""Recipes as Hypothesis draws them, and the cases they describe, for use in any `@given` test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import is_float
from tapml_fuzz.strategies.layouts import layouts
from tapml_fuzz.strategies.realise import realise
from tapml_fuzz.strategies.recipe import PHASES, Phase, Recipe, Step
from tapml_fuzz.strategies.seed_set import SeedSet
from tapml_fuzz.strategies.shapes import boundary_sizes
from tapml_fuzz.strategies.specials import SPECIALS
from tapml_fuzz.strategies.structure import INDEX_STEPS, MASK_STEPS

# Amounts are drawn by number, the mildest first, so that a shrunk recipe is a mild one. Chosen to leave the observed
# range by steps: doubled, beyond float16 (65504) from ordinary activations, and cancelling to nothing.
_SCALES = (0.5, 2.0, 4.0, 10.0, 100.0, 1e3, 1e-3, -1.0)
_SHIFTS = (1.0, -1.0, 10.0, -10.0, 100.0, -100.0, 1e4)
_COLLAPSES = (1e-2, 1e-4, 1e-6, 0.0)
# Mutations of floating values, with the amounts worth trying.
FLOAT_STEPS: dict[str, tuple[float, ...]] = {
    "scale": _SCALES,
    "shift": _SHIFTS,
    "resample": (0.0,),
    "channel-scale": (10.0, 100.0, 1e3, 0.0),
    "outliers": (1.0, 2.0, 10.0, 100.0),
    "collapse": _COLLAPSES,
}
_ORDER_STEPS = ("equal-rows", "equal-elements", "sorted-ascending", "sorted-descending")

_rng_seed = st.integers(0, 2**32 - 1)
_booleans = st.booleans()


@lru_cache(maxsize=4096)
def _choice(options: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(options)


# A cache of its own: (0.0,) equals (0,), and an amount must not come back as a slot.
@lru_cache(maxsize=512)
def _amount(options: tuple[float, ...]) -> st.SearchStrategy[float]:
    return st.sampled_from(options)


@lru_cache(maxsize=512)
def _number(limit: int) -> st.SearchStrategy[int]:
    return st.integers(0, limit - 1)


def recipes(
    seed_set: SeedSet, *, dtypes: Sequence[str] = (), phases: Sequence[Phase] = PHASES, strided: bool = True
) -> st.SearchStrategy[Recipe]:
    """Recipes around a seed set.

    `dtypes` are floating dtypes to draw from (default: the recorded ones only); `phases` the kinds of change to draw;
    `strided` whether non-contiguous inputs are drawn as well.
    """
    return _recipe(seed_set, tuple(dtypes), tuple(p for p in phases if _applies(p, seed_set)) or ("recorded",), strided)


@st.composite
def _recipe(
    draw: Callable[..., Any], seed_set: SeedSet, dtypes: tuple[str, ...], phases: tuple[Phase, ...], strided: bool
) -> Recipe:
    phase: Phase = draw(_choice(phases))
    seed_index = draw(_number(len(seed_set.seeds)))
    sizes: tuple[tuple[str, int], ...] = ()
    refill = False
    resized = "shapes" in phases and phase != "recorded" and seed_set.operator.axis_names
    if phase == "shapes" or (resized and draw(_number(4)) == 3):
        sizes = _draw_sizes(draw, seed_set)
        refill = draw(_booleans)
    steps: tuple[Step, ...] = ()
    if phase != "recorded":
        steps = tuple(_draw_step(draw, seed_set, phase) for _ in range(_step_count(draw, phase)))
    return Recipe(
        phase=phase,
        seed_index=seed_index,
        rng_seed=draw(_rng_seed) if refill or steps else 0,
        sizes=sizes,
        refill=refill,
        dtype=draw(_choice(dtypes)) if len(dtypes) > 1 else (dtypes[0] if dtypes else ""),
        steps=steps,
        layouts=tuple(draw(layouts) for _ in seed_set.profiles) if strided and draw(_number(4)) == 3 else (),
    )


def _applies(phase: Phase, seed_set: SeedSet) -> bool:
    match phase:
        case "shapes":
            return bool(seed_set.operator.axis_names)
        case "values" | "specials":
            return bool(seed_set.floating_slots) or any(d.startswith("int") for d in seed_set.operator.dtypes)
        case "structure":
            return bool(seed_set.operator.dtypes)
        case _:
            return True


def _draw_sizes(draw: Callable[..., Any], seed_set: SeedSet) -> tuple[tuple[str, int], ...]:
    axes = seed_set.operator.axis_names
    chosen = dict.fromkeys(draw(_choice(axes)) for _ in range(1 + draw(_number(2))))
    # One draw in sixteen asks for an empty axis; sampled last, so that shrinking leaves it.
    return tuple(
        (axis, 0 if draw(_number(16)) == 15 else draw(_choice(boundary_sizes(seed_set.operator, axis))))
        for axis in chosen
    )


def _step_count(draw: Callable[..., Any], phase: Phase) -> int:
    return int(draw(_number(2))) + (phase != "shapes")


def _draw_step(draw: Callable[..., Any], seed_set: SeedSet, phase: Phase) -> Step:
    if phase == "specials":
        slots = seed_set.floating_slots or tuple(range(len(seed_set.profiles)))
        return Step("special", draw(_choice(slots)), float(draw(_number(3))), draw(_choice(SPECIALS)))
    if phase == "structure":
        choices = structure_choices(seed_set)
        kind, slot = draw(_choice(choices))
        return Step(kind, slot)
    if not seed_set.floating_slots:
        return Step(
            "special", draw(_number(len(seed_set.profiles))), 0.0, draw(_choice(("zero", "one", "largest", "lowest")))
        )
    kind = draw(_choice(tuple(FLOAT_STEPS)))
    return Step(kind, draw(_choice(seed_set.floating_slots)), draw(_amount(FLOAT_STEPS[kind])))


@lru_cache(maxsize=1024)
def structure_choices(seed_set: SeedSet) -> tuple[tuple[str, int], ...]:
    """Every rearrangement that suits an argument of the seed set, as (kind, slot)."""
    choices = [(kind, slot) for slot in seed_set.mask_slots for kind in MASK_STEPS]
    choices += [(kind, slot) for slot in seed_set.index_slots for kind in INDEX_STEPS]
    dense = [
        slot for slot in range(len(seed_set.profiles)) if slot not in {*seed_set.mask_slots, *seed_set.index_slots}
    ]
    choices += [(kind, slot) for slot in dense for kind in _ORDER_STEPS if is_float(seed_set.operator.dtypes[slot])]
    return tuple(choices) or (("equal-elements", 0),)


def cases(
    seed_set: SeedSet,
    *,
    dtypes: Sequence[str] = (),
    phases: Sequence[Phase] = PHASES,
    strided: bool = False,
    max_elements: int = 16384,
) -> st.SearchStrategy[Case]:
    """Concrete cases of a seed set, for use in any `@given` test.

    Each has `tensors` (numpy arrays in the order of the operator's tensor arguments) and `sizes`. Recipes that the
    operator's index arguments make impossible (an index into an empty axis) are filtered out.
    """
    drawn = recipes(seed_set, dtypes=dtypes, phases=phases, strided=strided)
    return drawn.map(lambda recipe: realise(recipe, seed_set, max_elements)).filter(bool)  # type: ignore[return-value]
