"""Tolerances for another library's function beside this one's, where nobody knows the truth.

A compiled function has no float64 twin, so its error is measured from outside, on library A's own function. Its
float inputs x are moved along a line, x (1 + k h d) for k = 0 to 3 with a random sign d for each element and h a power
of the unit roundoff u, several times. Two things can be read off the results:

- the third differences, divided by sqrt(20), are the function's own noise: a smooth function leaves only h^3 of itself
  in them, and roundings, which are new at every k, stay (Moré and Wild, "Estimating Computational Noise", SIAM J. Sci.
  Comput. 33(3), 2011). That holds what the function makes of its inputs' roundings and of those inside it.
- the slope is how far one unit roundoff of every input reaches when each goes its own way (Monte Carlo arithmetic,
  as in `tolerance`).

Neither shows a rounding that no small step can change: 1 + erf(x) far below zero is one constant over whole stretches
of x, and few of its digits are right. So an element is lent the error of its row and channel, the root mean square;
where the function works element by element, no more than one rounding of its own inputs and three times its own error.
A number so much larger than the rest that no sum could hold both, a mask's -3e38 beside scores, lends nothing.

The other library may add in another order, one by one where this one adds in a tree. Then errors grow with the square
root of how many terms are added (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J.
Sci. Comput. 41(5), 2019). That number is measured as well: how many outputs change when one input element does. Sums
are expected in float32 at least, so for 16-bit types that part is counted in float32's roundoff.

What this can call a fault and is none: a correct function beside one of A's that rounds to a grid much coarser than the
steps (x + 10000 - 10000), where no element of the same row shows it.

What this can miss: a fault that is smaller than the tolerance (`slack` says how large that is), above all where a
function is rough (a rounding, a comparison, a quantisation between input and output) and so looks noisy; an error that
both libraries make; and whatever the given inputs do not reach. A mask of -10000, added to scores in the function that
computes them, makes them look rough. Where A sums in float32, one that sums thousands of terms in 16 bits is outside,
on purpose, as is one whose functions are approximations worse than their dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array, to_bits

# Runs A's function on inputs in place of those of the call; its outputs.
Evaluate = Callable[[Sequence[Array]], list[Array]]

# Lines along which the inputs are moved, as many as `tolerance` has draws, and elements changed one by one per input:
# each costs three runs, or one, of the function. More of them narrow the estimates with their square root only.
_DIRECTIONS = 6
_PROBES = 4
# Standard deviations allowed, as in `tolerance`; both libraries err.
_SPREADS = 4.0
_BOTH = 2.0
# Functions of fewer terms than this work element by element, if their inputs' shapes say so too. Chosen: a fused chain
# of elementwise operators reads a handful of tensors.
_FEW = 8.0
# How far too small an error that was measured six times may come out: the root mean square of six normal numbers is
# below a third of their standard deviation once in 200 elements (chi-squared, 6 degrees of freedom).
_LUCK = 3.0
# A gap of this many binary orders parts a mask's numbers from others: log2 of 1/u, kept between these.
_GAP = (11.0, 20.0)
# Third differences of independent errors have 1 + 9 + 9 + 1 times their variance.
_THIRD = 20.0


def reduction(evaluate: Evaluate, inputs: Sequence[Array], outputs: Sequence[Array]) -> float:
    """About how many input elements one output element depends on, at least 1.

    One element at a time becomes twice as large as the largest; what changes depends on it.
    """
    total = 0.0
    for slot, array in enumerate(inputs):
        if not _is_float(array) or array.size == 0:
            continue
        reached = 0
        for index in np.linspace(0, array.size - 1, _PROBES + 2, dtype=np.int64)[1:-1]:
            changed = [*inputs]
            changed[slot] = _with_outlier(array, int(index))
            results = evaluate(changed)
            reached = max(
                reached, sum(int((to_bits(a) != to_bits(b)).sum()) for a, b in zip(results, outputs, strict=True))
            )
        total += reached * array.size
    return max(1.0, total / max(1, sum(output.size for output in outputs)))


def tolerance(
    evaluate: Evaluate, inputs: Sequence[Array], outputs: Sequence[Array], terms: float
) -> list[Array | None]:
    """Per output, the distance allowed, float64 of its shape; infinite elements are unjudged, None stands for "equal".

    `outputs` are those of `inputs`, and `terms` is what `reduction` gave.
    """
    floats = [array for array in inputs if _is_float(array) and array.size]
    unit = max(
        (dtypes.unit_roundoff(dtypes.name_of(array)) for array in floats), default=dtypes.unit_roundoff("float64")
    )
    step = unit**-0.25  # in units of every input's roundoff: h = u^(3/4), so that h^3 of the function is below u^2
    noise, slope = [np.zeros(output.shape) for output in outputs], [np.zeros(output.shape) for output in outputs]
    changed = [np.zeros(output.shape, bool) for output in outputs]
    for number in range(_DIRECTIONS if floats else 0):
        line = _line(evaluate, inputs, step, number)
        for i, output in enumerate(outputs):
            points = [output, *(results[i] for results in line)]
            if not _is_float(output):
                changed[i] |= np.logical_or.reduce([point != output for point in points])
                continue
            y = [_apart(point, output) for point in points]
            with np.errstate(all="ignore"):
                noise[i] += (y[3] - 3 * y[2] + 3 * y[1]) ** 2 / _THIRD
                slope[i] += (y[3] / (3 * step)) ** 2
    return [
        _allowed(output, noise[i] / _DIRECTIONS, slope[i] / _DIRECTIONS, unit, terms, floats)
        if _is_float(output)
        else (np.where(changed[i], np.inf, 0.0) if changed[i].any() else None)
        for i, output in enumerate(outputs)
    ]


def slack(allowed: Array | None, output: Array) -> float:
    """The size of the tolerance beside the output's, root mean squares of both: the relative fault that is missed."""
    if allowed is None or output.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        wide = output.astype(np.float64)
        size = np.sqrt(np.mean(np.square(wide[np.isfinite(wide)]))) if np.isfinite(wide).any() else 0.0
        return float(np.sqrt(np.mean(np.square(allowed))) / size) if size else 0.0


def _allowed(output: Array, noise: Array, slope: Array, unit: float, terms: float, inputs: Sequence[Array]) -> Array:
    own = dtypes.unit_roundoff(dtypes.name_of(output))
    summed = np.sqrt(terms) * min(own, dtypes.unit_roundoff("float32"))
    with np.errstate(all="ignore"):
        rounded = (own + summed) * np.abs(output.astype(np.float64))
        error = np.sqrt(noise) + np.sqrt(slope) * (1.0 + summed / unit) + rounded
        lent = _lent(error, output, own)
        if terms < _FEW and inputs and all(_fits(array, output) for array in inputs):
            scale = sum(np.abs(array.astype(np.float64)) for array in inputs)
            lent = np.minimum(lent, unit * scale + _LUCK * error)
        allowed: Array = _BOTH * _SPREADS * np.maximum(error, lent)
    return np.nan_to_num(allowed, nan=np.inf, posinf=np.inf)


def _lent(error: Array, output: Array, unit: float) -> Array:
    """Each element's row's or channel's error, the larger."""
    lends = np.isfinite(error) & np.isfinite(output) & (np.abs(output.astype(np.float64)) < _masks(output, unit))
    square = np.where(lends, error, 0.0) ** 2
    if output.ndim < 2:
        return np.full(output.shape, np.sqrt(_mean(square, lends, None)))
    flat, counted = square.reshape(-1, output.shape[-1]), lends.reshape(-1, output.shape[-1])
    rows, channels = _mean(square, lends, -1), _mean(flat, counted, 0)
    result: Array = np.sqrt(np.maximum(rows, channels))
    return result


def _mean(square: Array, lends: Array, axis: int | None) -> Array:
    result: Array = square.sum(axis, keepdims=axis == -1) / np.maximum(lends.sum(axis, keepdims=axis == -1), 1)
    return result


def _masks(output: Array, unit: float) -> float:
    """The magnitude from which on numbers are a mask's; infinite where there is none."""
    sizes = np.abs(output[np.isfinite(output) & (output != 0)].astype(np.float64))
    if sizes.size and sizes.min() == sizes.max():
        return float(sizes[0])  # the mask itself, one number and zeros
    orders = np.unique(np.frexp(sizes)[1])
    gaps = np.flatnonzero(np.diff(orders) > np.clip(-np.log2(unit), *_GAP))
    return float(np.ldexp(1.0, int(orders[gaps[-1]]))) if gaps.size else np.inf


def _fits(array: Array, output: Array) -> bool:
    try:
        return np.broadcast_shapes(array.shape, output.shape) == output.shape
    except ValueError:
        return False


def _line(evaluate: Evaluate, inputs: Sequence[Array], step: float, number: int) -> list[list[Array]]:
    """The results at 1, 2 and 3 steps along a random line through the inputs."""
    random = np.random.default_rng([number, len(inputs)])
    signs = [random.integers(0, 2, a.shape, np.int8) * 2 - 1 if _is_float(a) else None for a in inputs]
    return [
        evaluate([a if d is None else _moved(a, d, k * step) for a, d in zip(inputs, signs, strict=True)])
        for k in (1, 2, 3)
    ]


def _moved(array: Array, signs: Array, units: float) -> Array:
    """x (1 + units u d), rounded to x's dtype; what is not finite stays, what is stays so."""
    name = dtypes.name_of(array)
    wide = np.float64 if name == "float64" else np.float32
    factor: Any = signs.astype(wide)  # of a dtype that numpy's types cannot follow
    factor *= units * dtypes.unit_roundoff(name)
    factor += 1
    largest = dtypes.largest(name)
    with np.errstate(all="ignore"):
        moved = array.astype(wide) * factor
        moved = np.where(np.isfinite(array), np.clip(moved, -largest, largest), moved)
        result: Array = moved.astype(array.dtype)
    return result


def _with_outlier(array: Array, index: int) -> Array:
    changed = array.copy()
    flat = changed.reshape(-1)
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    largest = float(finite.max()) if finite.size else 0.0
    flat[index] = 2 * largest + 1 if largest < dtypes.largest(dtypes.name_of(array)) / 4 else 1.0
    return changed


def _apart(one: Array, other: Array) -> Array:
    """one - other in float64; zero where they are the same, be it infinity or NaN."""
    with np.errstate(all="ignore"):
        a, b = one.astype(np.float64), other.astype(np.float64)
        return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)


def _is_float(array: Array) -> bool:
    return dtypes.is_float(dtypes.name_of(array))
