"""Rules in use elsewhere, implemented as well as their descriptions allow: which inputs, and when a result is wrong.

All of them compare with torch on the CPU in the same dtype, take a wrong shape, a wrong dtype or an exception for a
failure, and let NaN equal NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, is_float, name_of
from tapml_fuzz.oracle import truth
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.strategies.shapes import BOUNDARY_SIZES, fit
from tapml_fuzz.strategies.specials import SPECIALS, placed
from tapml_fuzz.strategies.structure import valid_indices
from tapml_fuzz.strategies.values import stored

Random = np.random.Generator
Draw = Callable[[Random, tuple[int, ...]], npt.NDArray[np.float64]]
Judged = Callable[[Case, Array, Array, int], bool]
_MAX_ELEMENTS = 16384


@dataclass(frozen=True)
class Rule:
    """A published or common practice.

    Attributes:
        name, about: for the table.
        cases: inputs for a source and its dtypes (`""`: the recorded ones), from a random generator; may end.
        wrong: whether output number `n` of a case, as computed, differs too much from the reference's.
    """

    name: str
    about: str
    cases: Callable[[SeedSet, tuple[str, ...], Random], Iterator[Case]]
    wrong: Judged


def replayed(source: SeedSet, dtypes: tuple[str, ...], random: Random) -> Iterator[Case]:
    """Every recorded call once per dtype."""
    for dtype in dtypes:
        for seed in source.seeds:
            tensors = tuple(stored(t, dtype) if dtype and is_float(name_of(t)) else t for t in seed.tensors)
            yield Case(source.operator, seed.sizes, tensors, origin=seed.origin)


def normal(source: SeedSet, dtypes: tuple[str, ...], random: Random) -> Iterator[Case]:
    """Standard normal values at the first recorded shape, for ever."""
    for dtype in itertools.cycle(dtypes):
        yield from _drawn(source, dict(source.seeds[0].sizes), dtype, _standard_normal, random)


def uniform_at_boundaries(source: SeedSet, dtypes: tuple[str, ...], random: Random) -> Iterator[Case]:
    """Uniform values in [-10, 10], every axis at a boundary size, for ever."""
    for dtype in itertools.cycle(dtypes):
        yield from _drawn(source, _boundary(source, random), dtype, lambda r, s: r.uniform(-10, 10, s), random)


def specials(source: SeedSet, dtypes: tuple[str, ...], random: Random) -> Iterator[Case]:
    """Standard normal values with special ones among them, one kind at a time, at recorded shapes."""
    for name, dtype in itertools.cycle(itertools.product(SPECIALS, dtypes)):
        seed = source.seeds[random.integers(len(source.seeds))]
        for case in _drawn(source, dict(seed.sizes), dtype, _standard_normal, random):
            tensors = list(case.tensors)
            for slot in source.floating_slots:
                tensors[slot] = placed(tensors[slot], name, int(random.integers(3)), random)
            yield Case(case.operator, case.sizes, tuple(tensors))


def recorded_then_normal(source: SeedSet, dtypes: tuple[str, ...], random: Random) -> Iterator[Case]:
    """Every recorded call, then standard normal values at boundary sizes."""
    yield from replayed(source, dtypes, random)
    for dtype in itertools.cycle(dtypes):
        yield from _drawn(source, _boundary(source, random), dtype, _standard_normal, random)


def made_up(source: SeedSet, random: Random) -> list[list[Array]]:
    """The tensors that somebody without recordings would write: the same shapes and dtypes, values made up."""
    return [
        [_filled(source, slot, t.shape, name_of(t), _standard_normal, random) for slot, t in enumerate(seed.tensors)]
        for seed in source.seeds
    ]


def far(rtol: float, atol: float) -> Judged:
    """Not close by a relative and an absolute tolerance."""
    return lambda case, got, expected, n: not _close(got, expected, rtol, atol)


def far_for_dtype(case: Case, got: Array, expected: Array, n: int) -> bool:
    """1e-5 in float32, 1e-2 in half precision, both relative and absolute; integers exactly."""
    tolerance = {"float32": 1e-5, "float64": 1e-5, "float16": 1e-2, "bfloat16": 1e-2}.get(name_of(expected), 0.0)
    return not _close(got, expected, tolerance, tolerance)


def absolutely_far(case: Case, got: Array, expected: Array, n: int) -> bool:
    """An absolute tolerance that only the dtype decides."""
    tolerance = {"float32": 1e-4, "float64": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}.get(name_of(expected), 0.0)
    return not _close(got, expected, 0.0, tolerance)


def three_times_the_reference(case: Case, got: Array, expected: Array, n: int) -> bool:
    """The root mean square error against float64 is over three times the reference's own (or one rounding's)."""
    exact = truth(case.operator, case.tensors, case.sizes).values[n].astype(np.float64)
    finite = np.isfinite(exact) & np.isfinite(expected.astype(np.float64))
    if not np.isfinite(got.astype(np.float64)[finite]).all():
        return True
    if not finite.any():
        return False
    ours, theirs = (_rms(a.astype(np.float64)[finite] - exact[finite]) for a in (got, expected))
    rounding = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}.get(name_of(expected), 0.0)
    return bool(ours > 3 * max(theirs, rounding * _rms(exact[finite])))


RULES = (
    Rule("replay", "recorded seeds once, rtol 1e-2 and atol 1", replayed, far(1e-2, 1.0)),
    Rule("normal", "normal(0, 1) at one shape, 1e-5 (half: 1e-2)", normal, far_for_dtype),
    Rule("uniform", "uniform [-10, 10] at boundary sizes, absolute per dtype", uniform_at_boundaries, absolutely_far),
    Rule("specials", "special values, NaN and infinity must match, 1e-5 (half: 1e-2)", specials, far_for_dtype),
    Rule(
        "rmse", "RMSE against float64 at most 3 times the reference's", recorded_then_normal, three_times_the_reference
    ),
)


def _close(got: Array, expected: Array, rtol: float, atol: float) -> bool:
    with np.errstate(all="ignore"):
        wide = got.astype(np.float64), expected.astype(np.float64)
        return bool(np.allclose(*wide, rtol=rtol, atol=atol, equal_nan=True))


def _rms(values: npt.NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(np.square(values))))


def _standard_normal(random: Random, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return random.standard_normal(shape)


def _boundary(source: SeedSet, random: Random) -> dict[str, int]:
    """Each axis that can vary at a random boundary size, within a bound on the elements."""
    sizes = dict(source.seeds[random.integers(len(source.seeds))].sizes)
    for axis in sorted(source.operator.symbolic_axes):  # a set has another order in every process
        sizes[axis] = int(random.choice(BOUNDARY_SIZES))
    return fit(source.operator, sizes, frozenset(), _MAX_ELEMENTS)


def _drawn(source: SeedSet, sizes: dict[str, int], dtype: str, draw: Draw, random: Random) -> Iterator[Case]:
    """One case, or none where the indices leave none."""
    tensors = [
        _filled(source, slot, shape, dtype if dtype and is_float(recorded) else recorded, draw, random)
        for slot, (shape, recorded) in enumerate(
            zip(source.operator.shapes(sizes), source.operator.dtypes, strict=True)
        )
    ]
    valid = valid_indices(source.operator, tensors, sizes)
    if valid is not None:
        yield Case(source.operator, sizes, tuple(valid))


def _filled(source: SeedSet, slot: int, shape: tuple[int, ...], dtype: str, draw: Draw, random: Random) -> Array:
    """Floats as drawn; integers uniform over the observed range; booleans tossed."""
    if is_float(dtype):
        return stored(np.asarray(draw(random, shape)), dtype)
    if dtype == "bool":
        return random.random(shape) < 0.5
    profile = source.profiles[slot]
    return random.integers(int(profile.low), int(profile.high) + 1, shape).astype(dtype)
