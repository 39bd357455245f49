"""Realism: the distance of an input from what was observed."""

from __future__ import annotations

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, is_float, largest, name_of, smallest_normal
from tapml_fuzz.core.profile import MASKED_BELOW, Profile
from tapml_fuzz.core.verdict import Realism
from tapml_fuzz.strategies.seed_set import SeedSet

# The rounding of a cast to a narrower dtype must not push a value out of its observed range: bfloat16 is the
# coarsest, with steps of 2^-7.
_SLACK = 2.0**-7


def realism(case: Case, seed_set: SeedSet) -> Realism:
    """The place of the tensors relative to the seed set's profiles; see `core.verdict.Realism`.

    `degenerate`: an empty tensor, or a fully masked row where none was seen. `special`: NaN, infinities, subnormals
    or numbers near the dtype's limit where none was seen. `near`: all values inside the observed ranges.
    """
    if case.origin.startswith("seed:"):
        return "observed"
    pairs = list(zip(case.tensors, seed_set.profiles, strict=True))
    if any(t.size == 0 for t in case.tensors) or any(_fully_masked(t, p) for t, p in pairs):
        return "degenerate"
    if any(_special(t, p) for t, p in pairs):
        return "special"
    return "near" if all(_inside(t, p) for t, p in pairs) else "extrapolated"


def _fully_masked(tensor: Array, profile: Profile) -> bool:
    if profile.structure != "mask" or tensor.ndim == 0 or profile.masked_rows > 0:
        return False
    hidden = ~tensor if tensor.dtype == np.bool_ else tensor.astype(np.float64) <= MASKED_BELOW
    return bool(hidden.all(axis=-1).any()) and tensor.shape[-1] > 1


def _special(tensor: Array, profile: Profile) -> bool:
    dtype = name_of(tensor)
    if not is_float(dtype):
        return False
    wide = np.abs(tensor.astype(np.float64))
    if not profile.nans and np.isnan(wide).any():
        return True
    if not (profile.positive_infinities or profile.negative_infinities) and np.isinf(wide).any():
        return True
    finite = np.where(np.isfinite(wide), wide, 0.0)
    observed = max(abs(profile.low), abs(profile.high))
    near_limit = finite.max(initial=0.0) > max(largest(dtype) / 4, observed)
    # In the recorded dtype: an ordinary small float32 activation is subnormal in float16, and real for all that.
    tiny = 4 * smallest_normal(profile.dtype if is_float(profile.dtype) else dtype)
    near_zero = bool(((finite > 0) & (finite < tiny)).any())
    return bool(near_limit) or near_zero


def _inside(tensor: Array, profile: Profile) -> bool:
    if tensor.dtype == np.bool_ or tensor.size == 0:
        return True
    wide = tensor.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return True
    slack = _SLACK * max(abs(profile.low), abs(profile.high))
    return bool(finite.min() >= profile.low - slack and finite.max() <= profile.high + slack)
