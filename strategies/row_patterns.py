"""Many situations in one tensor, one a row: operators that treat rows alike are tried on all of them at once.

The first row is left as it is, and situations follow from the ordinary to the extreme, so that what fails on an
ordinary row is reduced to that row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.profile import Profile
from tapml_fuzz.strategies.specials import integer_limits, special
from tapml_fuzz.strategies.values import Random, scaled, shifted, stored

Row = Callable[[Array, Profile, Random], Array]


def finite_rows(array: Array, profile: Profile, random: Random) -> Array:
    """Rows sorted, negated, constant, nearly constant, larger, smaller, shifted, with an outlier, cancelling, zero."""
    return _tiled(array, profile, random, _FINITE)


def special_rows(array: Array, profile: Profile, random: Random) -> Array:
    """Rows with NaN, infinities, signed zeros, subnormals, numbers at the dtype's limits, in one place or all over."""
    return _tiled(array, profile, random, _SPECIAL)


def _tiled(array: Array, profile: Profile, random: Random, situations: tuple[Row, ...]) -> Array:
    if array.ndim == 0 or array.size == 0 or array.dtype.kind in "b":
        return array
    if array.dtype.kind in "iu":
        situations = _INTEGER
    rows = array.reshape(-1, array.shape[-1]).copy()
    if len(rows) == 1:
        rows[0] = situations[random.integers(len(situations))](rows[0], profile, random)
    # Fewer rows than situations: another choice of them every time, still in order.
    count = min(len(rows) - 1, len(situations))
    chosen = np.sort(random.choice(len(situations), count, replace=False))
    for number in range(1, len(rows)):
        rows[number] = situations[chosen[(number - 1) % count]](rows[number], profile, random)
    return rows.reshape(array.shape)


def _scaled(factor: float) -> Row:
    return lambda row, profile, random: scaled(row, factor)


def _shifted(amount: float) -> Row:
    return lambda row, profile, random: shifted(row, profile, amount)


def _sorted(row: Array, profile: Profile, random: Random) -> Array:
    return np.sort(row)


def _reversed(row: Array, profile: Profile, random: Random) -> Array:
    return np.sort(row)[::-1]


def _constant(row: Array, profile: Profile, random: Random) -> Array:
    return np.full_like(row, row[0])


def _nearly_constant(row: Array, profile: Profile, random: Random) -> Array:
    wide = row.astype(np.float64)
    return stored(wide.mean() + 1e-4 * (wide - wide.mean()), name_of(row))


def _outlier(row: Array, profile: Profile, random: Random) -> Array:
    row = row.copy()
    extreme = profile.high if abs(profile.high) >= abs(profile.low) else profile.low
    row[random.integers(row.size)] = stored(np.asarray(2.0 * (extreme or 1.0)), name_of(row))
    return row


def _cancelling(row: Array, profile: Profile, random: Random) -> Array:
    """The second half undoes the first."""
    row = row.copy()
    half = row.size // 2
    row[half : 2 * half] = -row[:half]
    return row


def _half_steps(row: Array, profile: Profile, random: Random) -> Array:
    """Multiples of one half: ties of rounding to whole numbers."""
    return stored(np.round(2 * row.astype(np.float64)) / 2 + random.choice((0.0, 0.5), row.shape), name_of(row))


def _conversion_ties(row: Array, profile: Profile, random: Random) -> Array:
    """Half way between two numbers of bfloat16, or of float16: ties of a conversion. Other dtypes stay."""
    if row.dtype != np.float32:
        return row
    dropped = int(random.choice((16, 13)))  # float32's 23 bits of significand less bfloat16's 7 or float16's 10
    bits = row.view(np.uint32) >> dropped << dropped
    return (bits | np.uint32(1 << (dropped - 1))).view(np.float32)


def _all(name: str) -> Row:
    return lambda row, profile, random: np.full_like(row, special(name, name_of(row)))


def _one(*names: str, last: bool = False) -> Row:
    """Each of `names` in an element of its own: anywhere, or the last ones of the row."""

    def place(row: Array, profile: Profile, random: Random) -> Array:
        row = row.copy()
        count = min(len(names), row.size)
        places = range(row.size - count, row.size) if last else random.permutation(row.size)[:count]
        for where, name in zip(places, names, strict=False):
            row[where] = special(name, name_of(row))
        return row

    return place


def _first_half(name: str) -> Row:
    """Hidden from the left, as padding on that side is."""

    def place(row: Array, profile: Profile, random: Random) -> Array:
        row = row.copy()
        row[: (row.size + 1) // 2] = special(name, name_of(row))
        return row

    return place


def _integers(row: Array, profile: Profile, random: Random) -> Array:
    """Of any size: a random number of bits, both signs where there are two."""
    info = np.iinfo(row.dtype)
    bits = random.integers(0, info.bits - 1, row.shape)
    values = random.integers(0, 2**62, row.shape) >> (62 - bits)
    signs = random.choice((-1, 1), row.shape) if info.min < 0 else 1
    return np.asarray(values * signs).astype(row.dtype)


def _small_integers(row: Array, profile: Profile, random: Random) -> Array:
    """Around zero, where signs and remainders change."""
    low = max(-9, np.iinfo(row.dtype).min)
    return random.integers(low, 10, row.shape).astype(row.dtype)


def _integer_limits(row: Array, profile: Profile, random: Random) -> Array:
    low, high = integer_limits(row)
    return random.choice(np.asarray([low, high, high - 1, 0, 1], row.dtype), row.shape)


def _lowest_integers(row: Array, profile: Profile, random: Random) -> Array:
    """The lowest number everywhere: its products and its negative do not fit."""
    return np.full_like(row, integer_limits(row)[0])


def _none(row: Array, profile: Profile, random: Random) -> Array:
    return row


_FINITE: tuple[Row, ...] = (
    _sorted,
    _reversed,
    _scaled(-1.0),
    _constant,
    _scaled(0.1),
    _scaled(4.0),
    _outlier,
    _cancelling,
    _nearly_constant,
    _half_steps,
    _conversion_ties,
    _all("zero"),
    _shifted(10.0),
    _shifted(-10.0),
    _scaled(30.0),
    _scaled(1e-3),
    _shifted(-300.0),
    _scaled(1e3),
)  # fmt: skip
_SPECIAL: tuple[Row, ...] = (
    _none,
    _all("negative-zero"),
    _one("lowest"),
    _one("nan"),
    _one("inf"),
    _one("-inf"),
    _all("subnormal"),
    _all("lowest"),
    _one("nan", last=True),
    _one("largest", "lowest"),
    _first_half("lowest"),
    _first_half("-inf"),
    _all("-inf"),
    _one("inf", "-inf"),
    _all("largest"),
    _one("nan-payload"),
    _all("nan"),
)
_INTEGER: tuple[Row, ...] = (_small_integers, _integers, _integer_limits, _lowest_integers)
