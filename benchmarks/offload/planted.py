"""A platform with faults planted into the builds of some operators, to see whom a walk blames."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, is_float, name_of
from tapml_fuzz.platforms.base import Info, Run, Unit
from tapml_fuzz.platforms.registry import load, location
from tapml_fuzz.platforms.residence import resident


class Plan(msgspec.Struct, frozen=True):
    """Which platform stands below, and what is planted: kinds of faults by operator key, and pairs of keys.

    The second operator of a pair is wrong on tensors that the first has made on this platform, and on no others: each
    is right alone.
    """

    platform: str
    faults: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []


def _value(array: Array) -> Array:
    """Everything is a thousandth too large; integers are one too large, truths reversed."""
    if is_float(name_of(array)):
        with np.errstate(over="ignore"):
            larger: Array = (array * array.dtype.type(1.001)).astype(array.dtype)
        return larger
    other: Array = ~array if array.dtype == bool else array + 1
    return other


def _overflow(array: Array) -> Array:
    """The largest magnitude overflows."""
    flat = array.reshape(-1).copy()
    if flat.size:
        worst = int(np.abs(flat.astype(np.float64)).argmax())
        flat[worst] = np.inf if is_float(name_of(array)) else np.iinfo(flat.dtype).min if flat.dtype != bool else False
    return flat.reshape(array.shape)


def _off_by_one(array: Array) -> Array:
    """Each row reads one element too far along, the last its own."""
    if array.ndim == 0 or array.shape[-1] < 2:
        return array
    return np.concatenate([array[..., 1:], array[..., -1:]], axis=-1)


def _wrong_stride(array: Array) -> Array:
    """The last two axes are read with each other's strides."""
    if array.ndim < 2:
        return array[::-1].copy()
    return np.ascontiguousarray(np.swapaxes(array, -1, -2)).reshape(array.shape)


def _nondeterminism(array: Array) -> Array:
    """A few elements differ from run to run."""
    flat, random = array.reshape(-1).copy(), np.random.default_rng()
    if flat.size:
        places = random.integers(0, flat.size, max(1, flat.size // 16))
        flat[places] = _value(flat[places]) if not is_float(name_of(array)) else flat[places] * random.uniform(0.5, 2)
    return flat.reshape(array.shape).astype(array.dtype)


KINDS: dict[str, Callable[[Array], Array]] = {
    "value": _value,
    "overflow": _overflow,
    "off by one": _off_by_one,
    "wrong stride": _wrong_stride,
    "nondeterminism": _nondeterminism,
}


class _Build(NamedTuple):
    inner: Any
    key: str


class Planted:
    """The platform of a `Plan`, which lies in the JSON file at `path`."""

    name = "planted"

    def __init__(self, path: str) -> None:
        self._plan = msgspec.json.decode(Path(path).read_bytes(), type=Plan)
        self._platform = load(location(self._plan.platform))
        self._tensors = resident(self._platform)
        self._makers: dict[int, tuple[str, Any]] = {}

    def activate(self) -> Info:
        return msgspec.structs.replace(self._platform.activate(), name=self.name)

    def build(self, unit: Unit) -> _Build:
        return _Build(self._platform.build(unit), unit.operator.key)

    def run(self, build: _Build, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]) -> Run:
        run = self._platform.run(build.inner, tensors, layouts, sizes)
        fault = KINDS.get(self._plan.faults.get(build.key, ""))
        if fault is not None:
            run.outputs = [fault(np.asarray(output)) for output in run.outputs]
        return run

    def place(self, array: Array) -> Any:
        return self._tensors.place(array)

    def adopt(self, tensor: Any) -> Any | None:
        return self._tensors.adopt(tensor)

    def fetch(self, tensor: Any) -> Array:
        return self._tensors.fetch(tensor)

    def compute(self, build: _Build, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        outputs = self._tensors.compute(build.inner, tensors, sizes)
        fault = KINDS.get(self._plan.faults.get(build.key, ""))
        if fault is None and self._meets_its_partner(build.key, tensors):
            fault = _value
        if fault is not None:
            outputs = [self._tensors.place(fault(self._tensors.fetch(output))) for output in outputs]
        if any(first == build.key for first, _ in self._plan.pairs):
            for output in outputs:
                self._makers[id(output)] = (build.key, _remembered(output))
        return outputs

    def _meets_its_partner(self, key: str, tensors: Sequence[Any]) -> bool:
        partners = {first for first, second in self._plan.pairs if second == key}
        makers = {self._makers[id(t)][0] for t in tensors if id(t) in self._makers and self._makers[id(t)][1]() is t}
        return bool(partners & makers)


def _remembered(tensor: Any) -> Callable[[], Any]:
    """The tensor for as long as it lives, where it can be told; else for ever."""
    try:
        return weakref.ref(tensor)
    except TypeError:
        return lambda: tensor
