"""Kinds of faults: what each does to an output that was right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tapml_fuzz.core.dtypes import Array, is_float, name_of

Change = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Kind:
    """A fault.

    Attributes:
        change: from the right output, and a source of chance, to the wrong one.
        every: which runs of a build are wrong: each, every third.
        after: runs of a build that are right before.
        kept: whether only what stays on the platform is wrong (`compute`), not what goes in and out (`run`), so that
            no call shows it alone.
    """

    change: Change
    every: int = 1
    after: int = 0
    kept: bool = False

    def comes(self, run: int) -> bool:
        """Whether run number `run` of a build, from 1 on, is wrong."""
        return run > self.after and (run - self.after) % self.every == 0

    @property
    def always(self) -> bool:
        return self.every == 1 and not self.after


def _larger(array: Array, factor: float) -> Array:
    with np.errstate(over="ignore"):
        result: Array = (array * array.dtype.type(factor)).astype(array.dtype)
    return result


def value(array: Array, random: np.random.Generator) -> Array:
    """Everything is a thousandth too large; integers are one too large, truths reversed."""
    if is_float(name_of(array)):
        return _larger(array, 1.001)
    other: Array = ~array if array.dtype == bool else array + 1
    return other


def _slight_value(array: Array, random: np.random.Generator) -> Array:
    """A hundred times less: near the bound of what sums, outside that of what does not. Integers stay."""
    return _larger(array, 1.00001) if is_float(name_of(array)) else array


def _overflow(array: Array, random: np.random.Generator) -> Array:
    """The largest magnitude overflows."""
    flat = array.reshape(-1).copy()
    if flat.size:
        worst = int(np.abs(flat.astype(np.float64)).argmax())
        flat[worst] = np.inf if is_float(name_of(array)) else np.iinfo(flat.dtype).min if flat.dtype != bool else False
    return flat.reshape(array.shape)


def _off_by_one(array: Array, random: np.random.Generator) -> Array:
    """Each row reads one element too far along, the last its own."""
    if array.ndim == 0 or array.shape[-1] < 2:
        return array
    return np.concatenate([array[..., 1:], array[..., -1:]], axis=-1)


def _wrong_stride(array: Array, random: np.random.Generator) -> Array:
    """The last two axes are read with each other's strides."""
    if array.ndim < 2:
        return array[::-1].copy()
    return np.ascontiguousarray(np.swapaxes(array, -1, -2)).reshape(array.shape)


def _nondeterminism(array: Array, random: np.random.Generator) -> Array:
    """A few elements differ from run to run."""
    flat = array.reshape(-1).copy()
    if flat.size:
        places = random.integers(0, flat.size, max(1, flat.size // 16))
        floats = is_float(name_of(array))
        flat[places] = flat[places] * random.uniform(0.5, 2) if floats else value(flat[places], random)
    return flat.reshape(array.shape).astype(array.dtype)


# The kinds that every operator is planted with, one at a time.
KINDS: dict[str, Kind] = {
    "value": Kind(value),
    "overflow": Kind(_overflow),
    "off by one": Kind(_off_by_one),
    "wrong stride": Kind(_wrong_stride),
    "nondeterminism": Kind(_nondeterminism),
}
# Harder ones: near the bound, nowhere to be seen alone, and not there at most runs.
HARDER: dict[str, Kind] = {
    "slight value": Kind(_slight_value),
    "kept tensors": Kind(value, kept=True),
}
RARE: dict[str, Kind] = {
    "every third run": Kind(value, every=3),
    "every tenth run": Kind(value, every=10),
    "after forty runs": Kind(value, every=3, after=40),
}
EVERY: dict[str, Kind] = {**KINDS, **HARDER, **RARE}
