"""The tensor reducer: greedy passes over a concrete case, each kept only if the case still fails the same way.

Hypothesis has shrunk the recipe before; here the tensors themselves shrink: packed layouts, shorter axes, zeros,
equal values, short decimals. A step is refused when it makes the input less realistic than it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapml_fuzz.core.case import PACKED, Case, Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.reduction.sizes import take
from tapml_fuzz.reduction.values import ordinary, simpler_elements, simpler_tensors

# Lengths tried first when an axis is shortened: all short ones, then around powers of two, where blocks and vectors of
# kernels end (`strategies.shapes`).
_LENGTHS = (*range(2, 10), *(2**k + d for k in range(4, 12) for d in (-1, 0, 1)))

Fails = Callable[[Case], bool]


@dataclass(frozen=True)
class Reduction:
    """The smallest case found, how many candidates were run for it, and the seconds it took."""

    case: Case
    attempts: int
    seconds: float


class _OutOfTime(Exception):
    pass


class _Search:
    def __init__(self, case: Case, fails: Fails, seconds: float) -> None:
        self.case = case
        self._fails = fails
        self._deadline = time.monotonic() + seconds
        self._seen = {case.id}
        self.attempts = 0

    def adopt(self, case: Case) -> bool:
        """Make `case` the current one if it still fails; raises `_OutOfTime` when the time is used up."""
        if time.monotonic() > self._deadline:
            raise _OutOfTime
        if case.id in self._seen:
            return False
        self._seen.add(case.id)
        self.attempts += 1
        if not self._fails(case):
            return False
        self.case = case
        return True


def reduce_case(case: Case, fails: Fails, *, seconds: float = 5.0) -> Reduction:
    """Reduce `case` while `fails` holds for it, for at most `seconds`.

    `fails` says whether a case fails with the same kind and is no less realistic; it is never asked twice for the
    same case.
    """
    search = _Search(case, fails, seconds)
    began = time.monotonic()
    try:
        while any(step(search) for step in (_tame, _pack, _shorten, _simplify_tensors, _simplify_elements)):
            pass
    except _OutOfTime:
        pass
    return Reduction(search.case, search.attempts, time.monotonic() - began)


def _tame(search: _Search) -> bool:
    """Every NaN, infinity, subnormal and number near the dtype's limit becomes zero: perhaps none was needed."""
    tamed = tuple(ordinary(t) for t in search.case.tensors)
    if all(new is old for new, old in zip(tamed, search.case.tensors, strict=True)):
        return False
    return search.adopt(search.case.with_tensors(tamed))


def _pack(search: _Search) -> bool:
    case = search.case
    if all(layout == "contiguous" for layout in case.layouts):
        return False
    packed: tuple[Layout, ...] = tuple(PACKED for _ in case.layouts)
    if search.adopt(replace(case, layouts=packed, origin="")):
        return True
    changed = False
    for slot, layout in enumerate(case.layouts):
        if layout != "contiguous":
            layouts = tuple(packed[s] if s == slot else o for s, o in enumerate(search.case.layouts))
            changed |= search.adopt(replace(search.case, layouts=layouts, origin=""))
    return changed


def _shorten(search: _Search) -> bool:
    """Shorter axes: one element, halves, then pieces of decreasing length, as in delta debugging (Zeller 2002)."""
    changed = False
    axes = sorted(search.case.sizes, key=lambda a: -search.case.sizes[a])
    for axis in axes:
        changed |= _shorten_axis(search, axis)
    return changed


def _shorten_axis(search: _Search, axis: str) -> bool:
    changed = False
    size = search.case.sizes[axis]
    if size <= 1:
        return False
    for only in dict.fromkeys((0, size - 1)):
        if search.adopt(take(search.case, axis, [only])):
            return True
    # Tails depend on the size itself, so the short lengths at which kernels break come before pieces.
    for length in (n for n in _LENGTHS if n < size):
        if search.adopt(take(search.case, axis, range(length))):
            changed = True
            break
    piece = search.case.sizes[axis] // 2
    while piece >= 1:
        start = 0
        while start < search.case.sizes[axis] and search.case.sizes[axis] > 1:
            size = search.case.sizes[axis]
            kept = [i for i in range(size) if not start <= i < start + piece]
            if kept and search.adopt(take(search.case, axis, kept)):
                changed = True
            else:
                start += piece
        piece //= 2
    return changed


def _simplify_tensors(search: _Search) -> bool:
    """Whole tensors: all zero, all one, all equal, rounded."""
    changed = False
    for slot in range(len(search.case.tensors)):
        for simpler in simpler_tensors(search.case.tensors[slot]):
            if search.adopt(_with(search.case, slot, simpler)):
                changed = True
                break
    return changed


def _simplify_elements(search: _Search) -> bool:
    """Blocks of elements to zero, then single elements to short decimals."""
    changed = False
    for slot in range(len(search.case.tensors)):
        for block in _blocks(search.case.tensors[slot].size):
            changed |= _zero(search, slot, block)
        if search.case.tensors[slot].size <= 512:
            for place in range(search.case.tensors[slot].size):
                changed |= _simplify_element(search, slot, place)
    return changed


def _zero(search: _Search, slot: int, block: slice) -> bool:
    flat = search.case.tensors[slot].reshape(-1)
    if not flat[block].astype(bool).any():
        return False
    new = flat.copy()
    new[block] = 0
    return search.adopt(_with(search.case, slot, new))


def _simplify_element(search: _Search, slot: int, place: int) -> bool:
    flat = search.case.tensors[slot].reshape(-1)
    for value in simpler_elements(flat[place]):
        new = flat.copy()
        new[place] = value
        if search.adopt(_with(search.case, slot, new)):
            return True
    return False


def _blocks(size: int) -> Iterator[slice]:
    """Halves, quarters, ... down to pieces of two, at most 64 per level."""
    length = size // 2
    while length >= 2 and size // length <= 64:
        yield from (slice(start, start + length) for start in range(0, size, length))
        length //= 2


def _with(case: Case, slot: int, tensor: Array) -> Case:
    shaped = np.ascontiguousarray(tensor).reshape(case.tensors[slot].shape)
    tensors: Sequence[Array] = [shaped if i == slot else t for i, t in enumerate(case.tensors)]
    return case.with_tensors(tuple(tensors))
