"""Monte Carlo runs: every call's outputs are moved within what each may be off, and the spread of the runs is taken."""

from __future__ import annotations

import numpy as np
import torch

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.offload.tolerance import carried_to

# As in `tolerance`: half of the draws move each element its own way, half move all of a call's together.
DRAWS = 6


class SpreadEstimate:
    """The spread of the runs at one value, gathered run by run."""

    def __init__(self, plain: Array) -> None:
        self._plain, self._float = plain, dtypes.is_float(dtypes.name_of(plain))
        self._square = np.zeros(plain.shape)
        self._lost = np.zeros(plain.shape, bool)

    def add(self, moved: Array) -> None:
        """Take in what one draw gave: an array of the value's shape and dtype."""
        if not self._float:
            self._lost |= moved != self._plain  # an integer that hangs on a rounding
            return
        with np.errstate(all="ignore"):
            apart = moved.astype(np.float64) - self._plain.astype(np.float64)
        same = (moved == self._plain) | (np.isnan(moved) & np.isnan(self._plain))
        self._square += np.where(same, 0.0, apart) ** 2 / DRAWS

    def lose(self, moved: Array) -> None:
        """Take in the run that made NaN of what is unjudged: where it has NaN, nothing can be said."""
        if self._float:
            self._lost |= np.isnan(moved) & ~np.isnan(self._plain)

    def allowed(self, own: Array | None) -> Array | None:
        """The distance allowed by `tolerance`'s rule, float64 of the value's shape; None stands for "equal"."""
        if self._float and (own is not None or self._square.any()):
            plain = torch.from_numpy(self._plain.astype(np.float64))
            allowed = carried_to(plain, torch.from_numpy(self._square), own, dtypes.name_of(self._plain))
        elif self._lost.any():
            allowed = np.zeros(self._plain.shape)
        else:
            return None
        return np.where(self._lost, np.inf, allowed)


def perturbed(array: Array, allowed: Array, random: np.random.Generator, draw: int | None) -> Array:
    """The array moved within `allowed`, apart in draws of even and together in draws of odd number.

    With None for `draw` nothing moves, and elements that are unjudged (infinite in `allowed`) become NaN.
    """
    if draw is None:
        return np.where(np.isinf(allowed), np.asarray(np.nan, array.dtype), array)
    together = draw % 2 == 1
    direction = random.choice([-1.0, 1.0]) if together else random.uniform(-1.0, 1.0, array.shape)
    with np.errstate(all="ignore"):
        moved: Array = (array + np.where(np.isfinite(allowed), allowed, 0.0) * direction).astype(array.dtype)
    return moved
