"""A platform with faults planted into the builds of some operators, to see whom a walk blames."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.offload.kinds import EVERY, value
from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.base import BuildSpec, Info
from tapml_fuzz.platforms.device_tensors import resident
from tapml_fuzz.platforms.registry import load, location


class Plan(msgspec.Struct, frozen=True):
    """Which platform stands below, and what is planted: kinds of faults by operator key, and pairs of keys.

    The second operator of a pair is wrong on tensors that the first has made on this platform, and on no others: each
    is right alone.
    """

    platform: str
    faults: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []

    def write(self, path: Path) -> None:
        """At once for whoever reads it meanwhile."""
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self))
        new.replace(path)


def came_of(path: Path) -> Path:
    """Where the operators are noted whose fault is not there always, when it came."""
    return path.with_suffix(".came")


class _Build(NamedTuple):
    inner: Any
    key: str


class Planted:
    """The platform of a `Plan`, which lies in the JSON file at `path`.

    The file may be replaced by a plan of the same platform at any time: what is built stays, its faults change.
    """

    name = "planted"

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._read: tuple[int, ...] = ()
        self._plan = Plan("")
        self._platform = load(location(self._now().platform))
        self._tensors = resident(self._platform)
        self._random = np.random.default_rng(0)

    def activate(self) -> Info:
        return msgspec.structs.replace(self._platform.activate(), name=self.name)

    def build(self, unit: BuildSpec) -> _Build:
        return _Build(self._platform.build(unit), unit.operator.key)

    def run(
        self, build: _Build, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        run = self._platform.run(build.inner, tensors, layouts, sizes)
        fault = self._fault(build.key, kept=False)
        if fault is not None:
            outputs = tuple(fault(np.asarray(output)) for output in run.outputs)
            return msgspec.structs.replace(run, outputs=outputs)
        return run

    def place(self, array: Array) -> Any:
        return self._tensors.place(array)

    def adopt(self, tensor: Any) -> Any | None:
        return self._tensors.adopt(tensor)

    def fetch(self, tensor: Any) -> Array:
        return self._tensors.fetch(tensor)

    def compute(self, build: _Build, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        outputs = self._tensors.compute(build.inner, tensors, sizes)
        fault = self._fault(build.key, kept=True)
        if fault is None and self._meets_its_partner(build.key, tensors):
            fault = self._value
        if fault is not None:
            outputs = [self._tensors.place(fault(self._tensors.fetch(output))) for output in outputs]
        if any(first == build.key for first, _ in self._plan.pairs):
            for output in outputs:
                self._makers[id(output)] = (build.key, _remembered(output))
        return outputs

    def _now(self) -> Plan:
        """The plan as the file has it; the last one read where the file is gone."""
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return self._plan
        read = (facts.st_mtime_ns, facts.st_ino)
        if read != self._read:
            self._read, self._plan = read, msgspec.json.decode(self._path.read_bytes(), type=Plan)
            self._runs: Counter[str] = Counter()
            self._came: set[str] = set()
            self._makers: dict[int, tuple[str, Callable[[], Any]]] = {}
        return self._plan

    def _fault(self, key: str, *, kept: bool) -> Callable[[Array], Array] | None:
        """What the run at hand of an operator does to its outputs; None where it does nothing wrong."""
        kind = EVERY.get(self._now().faults.get(key, ""))
        if kind is None or (kind.kept and not kept):
            return None
        self._runs[key] += 1
        if not kind.comes(self._runs[key]):
            return None
        if not kind.always and key not in self._came:
            self._came.add(key)
            with came_of(self._path).open("a") as file:
                file.write(key + "\n")
        change = kind.change
        return lambda array: change(array, self._random)

    def _value(self, array: Array) -> Array:
        return value(array, self._random)

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
