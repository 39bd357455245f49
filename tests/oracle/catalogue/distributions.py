"""Distributions of values to try an operator on: ordinary ones, and such as make rounding matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapml_fuzz.core.dtypes import Array, numpy_dtype
from tests.oracle.catalogue.entry import Draw


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)


def large(rng: np.random.Generator, *shape: int) -> Array:
    """Magnitudes around a thousand, both signs."""
    return rng.standard_normal(shape) * 1000


def uniform(rng: np.random.Generator, *shape: int) -> Array:
    return rng.random(shape)


def shifted(rng: np.random.Generator, *shape: int) -> Array:
    """A mean of a hundred standard deviations: variances cancel."""
    return rng.standard_normal(shape) + 100


def outliers(rng: np.random.Generator, *shape: int) -> Array:
    """One channel eighty times the others, as in real activations."""
    values = rng.standard_normal(shape)
    if values.ndim:
        values[..., 0] *= 80
    return values


def equal(rng: np.random.Generator, *shape: int) -> Array:
    """Every element of a row is the same number: rounding errors of a sum all point one way."""
    values = rng.standard_normal(shape)
    return np.broadcast_to(values[..., :1], shape).copy() if values.ndim else values


def ordered(_: np.random.Generator, *shape: int) -> Array:
    """A ramp, half of it negative: partial sums are far larger than the sum."""
    return np.linspace(-3, 3, int(np.prod(shape))).reshape(shape)


def zeros(_: np.random.Generator, *shape: int) -> Array:
    return np.zeros(shape)


def sparse(rng: np.random.Generator, *shape: int) -> Array:
    """Mostly zeros, the rest one of two numbers."""
    return rng.choice([0.0, 0.0, 0.0, 0.1, 0.7], shape)


def minute(rng: np.random.Generator, *shape: int) -> Array:
    """Subnormal in float32."""
    return rng.standard_normal(shape) * 1e-40


def spread(rng: np.random.Generator, *shape: int) -> Array:
    """Thirty orders of magnitude."""
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-15, 15, shape)


def special(rng: np.random.Generator, *shape: int) -> Array:
    """Infinities, NaN, signed zeros and the largest numbers among ordinary ones."""
    values = rng.standard_normal(shape).reshape(-1)
    count = max(1, values.size // 40)
    places = rng.integers(0, values.size, count if values.size else 0)
    values[places] = rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -6e4], len(places))
    return values.reshape(shape)


DISTRIBUTIONS: dict[str, Callable[..., Array]] = {
    f.__name__: f
    for f in (normal, large, uniform, shifted, outliers, equal, ordered, zeros, sparse, minute, spread, special)
}


def drawing(rng: np.random.Generator, distribution: str, dtype: str) -> Draw:
    """`draw(*shape)` for a distribution and a dtype; float16 values are clipped to its range."""

    def draw(*shape: int) -> Array:
        with np.errstate(over="ignore"):
            return DISTRIBUTIONS[distribution](rng, *shape).astype(numpy_dtype(dtype))

    return draw
