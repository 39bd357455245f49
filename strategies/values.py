"""Values around what was observed: refilling from a profile, scaling, shifting, channels, outliers, collapse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tapml_fuzz.core.dtypes import Array, is_float, largest, name_of, numpy_dtype
from tapml_fuzz.core.profile import PROBABILITIES, Profile

Random = np.random.Generator
Float64 = npt.NDArray[np.float64]


def stored(values: Array, dtype: str) -> Array:
    """Convert to `dtype`; finite values beyond a floating dtype's range become its largest, as a model's would."""
    if not is_float(dtype):
        return values.astype(numpy_dtype(dtype))
    limit = largest(dtype)
    if limit < largest(name_of(values)):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.where(np.isinf(values), values, np.clip(values, -limit, limit))
    return values.astype(numpy_dtype(dtype))


def tiled(array: Array, shape: tuple[int, ...]) -> Array:
    """The recorded values at another shape of the same rank: cut where smaller, repeated where larger."""
    if array.shape == shape:
        return array
    if 0 in array.shape:
        return np.zeros(shape, array.dtype)
    for axis, extent in enumerate(shape):
        if array.shape[axis] != extent:
            array = np.take(array, np.arange(extent) % array.shape[axis], axis=axis)
    return array


def resampled(profile: Profile, shape: tuple[int, ...], random: Random) -> Float64:
    """Fresh values with the profile's marginal distribution, channel by channel where channels were seen.

    Channels are drawn whole (mean and deviation together, outlier channels at their observed share) along the last
    axis and rows get the observed spread of norms; without channels the quantiles are inverted (linear in between).
    Values stay inside the observed range, and as many as were hidden by a mask are hidden again at the rows' ends.
    """
    if profile.structure in ("mask", "constant") and profile.values:
        return np.asarray(random.choice(np.asarray(profile.values, dtype=np.float64), size=shape))
    if profile.structure == "empty" or not profile.quantiles:
        return np.zeros(shape)
    if profile.channels and shape and shape[-1]:
        mean, deviation = np.asarray(profile.channels, dtype=np.float64)[_channels(profile, shape[-1], random)].T
        values = mean + deviation * random.standard_normal(shape)
        if len(profile.row_norms) and len(shape) > 1:
            spread = np.interp(
                random.random((*shape[:-1], 1)), np.linspace(0, 1, len(profile.row_norms)), profile.row_norms
            )
            values *= spread
        values = np.clip(values, max(profile.low, profile.quantiles[0]), min(profile.high, profile.quantiles[-1]))
    else:
        values = np.asarray(np.interp(random.random(shape), PROBABILITIES, profile.quantiles))
    # Every other time nothing is hidden: what a mask covers cannot be seen to be wrong.
    if profile.hidden and shape and random.random() < 0.5:
        shown = random.binomial(shape[-1], 1 - profile.hidden, size=(*shape[:-1], 1))
        values = np.where(np.arange(shape[-1]) < np.maximum(shown, 1), values, profile.low)
    return np.asarray(values)


def _channels(profile: Profile, width: int, random: Random) -> npt.NDArray[np.int64]:
    """The observed channel that each position gets: all of them in random order, the one of largest scale always."""
    count = len(profile.channels)
    picked = np.concatenate([random.permutation(count) for _ in range(-(-width // count))])[:width]
    if count - 1 not in picked:  # channels are kept in ascending order of scale
        picked[random.integers(width)] = count - 1
    return picked


def scaled(array: Array, factor: float) -> Array:
    """Every element multiplied."""
    return np.asarray(array * array.dtype.type(factor))


def shifted(array: Array, profile: Profile, amount: float) -> Array:
    """Shift by `amount` times the observed interquartile range (or 1 where that is zero)."""
    spread = (profile.quantiles[7] - profile.quantiles[5]) if profile.quantiles else 0.0
    return np.asarray(array + array.dtype.type(amount * (spread or 1.0)))


def channel_scaled(array: Array, factor: float, random: Random) -> Array:
    """One channel of the last axis multiplied: an outlier channel."""
    if array.ndim == 0 or array.size == 0:
        return scaled(array, factor)
    array = array.copy()
    array[..., random.integers(array.shape[-1])] *= array.dtype.type(factor)
    return array


def with_outliers(array: Array, profile: Profile, factor: float, random: Random) -> Array:
    """A few elements at `factor` times the observed extremes."""
    if array.size == 0:
        return array
    array = array.copy()
    extreme = profile.high if abs(profile.high) >= abs(profile.low) else profile.low
    places = random.integers(array.size, size=max(1, array.size // 512))
    array.reshape(-1)[places] = stored(np.float64((extreme or 1.0) * factor).reshape(1), name_of(array))[0]
    return array


def collapsed(array: Array, fraction: float) -> Array:
    """Each row pulled toward its mean until `fraction` of its deviation is left: where variances cancel."""
    if array.ndim == 0 or array.size == 0:
        return array
    wide = array.astype(np.float64)
    mean = wide.mean(axis=-1, keepdims=True)
    return stored(mean + fraction * (wide - mean), name_of(array))


def equal_rows(array: Array) -> Array:
    """Every row the first one: ties, and sums whose rounding errors agree."""
    if array.ndim < 2 or array.size == 0:
        return array
    rows = array.reshape(-1, array.shape[-1])
    return np.broadcast_to(rows[:1], rows.shape).reshape(array.shape).copy()


def equal_elements(array: Array) -> Array:
    """Every element the first of its row: zero variance, all ties."""
    if array.ndim == 0 or array.size == 0:
        return array
    return np.broadcast_to(array[..., :1], array.shape).copy()


def sorted_rows(array: Array, descending: bool) -> Array:
    """Rows in order: running maxima that change at every step, or never."""
    if array.ndim == 0 or array.size == 0:
        return array
    rows = np.sort(array, axis=-1)
    return rows[..., ::-1].copy() if descending else rows
