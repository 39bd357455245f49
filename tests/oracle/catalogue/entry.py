"""An operator with arguments to try it on, and short ways to say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.operator import Operator, Product, Slot

Draw = Callable[..., Array]


class Entry(NamedTuple):
    """An operator and how to make its arguments; `draw(*shape)` gives floats of the tried distribution and dtype."""

    family: str
    name: str
    arguments: Callable[[Draw, np.random.Generator], tuple[list[Any], dict[str, Any]]]


def operator_of(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[Operator, tuple[Array, ...]]:
    """An `Operator` with fixed sizes out of a concrete call."""
    tensors: list[Array] = []

    def template(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            tensors.append(item)
            return Slot(len(tensors) - 1)
        return [template(i) for i in item] if isinstance(item, list | tuple) else item

    templates = tuple(template(a) for a in args)
    named = {k: template(v) for k, v in kwargs.items()}
    axes = tuple(tuple(Product((), size) for size in t.shape) for t in tensors)
    return Operator(name, templates, named, axes, tuple(name_of(t) for t in tensors)), tuple(tensors)


def simple(family: str, name: str, *more: Any, shape: tuple[int, ...] = (24, 48), **kwargs: Any) -> Entry:
    """A call whose one tensor comes first, `more` after it."""
    return Entry(family, f"aten.{name}", lambda draw, _: ([draw(*shape), *more], kwargs))


def positive(family: str, name: str, *more: Any) -> Entry:
    """The same on magnitudes."""
    return Entry(family, f"aten.{name}", lambda draw, _: ([abs(draw(24, 48)), *more], {}))


def two(family: str, name: str, one: tuple[int, ...] = (24, 48), other: tuple[int, ...] = (48,), **kw: Any) -> Entry:
    """A call on two tensors, of shapes `one` and `other`."""
    return Entry(family, f"aten.{name}", lambda draw, _: ([draw(*one), draw(*other)], kw))


def indices(rng: np.random.Generator, high: int, *shape: int) -> Array:
    """int64 indices below `high`."""
    return rng.integers(0, high, shape)
