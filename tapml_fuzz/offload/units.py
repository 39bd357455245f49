"""Units that move in a walk, and their order."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.offload.subject import Subject

ORDERS = ("common", "graph")


class Movable(Protocol):
    """Calls that move as one."""

    @property
    def key(self) -> str:
        """Stable identity, which ledger and reports use."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a glob of the order may match."""

    @property
    def text(self) -> str:
        """A line for people."""

    @property
    def calls(self) -> int:
        """Number of calls over all recordings."""

    @property
    def elements(self) -> int:
        """Number of input elements over all calls."""


U = TypeVar("U", bound=Movable)


@dataclass(frozen=True)
class OffloadUnit:
    """An operator signature: all calls of one build together, with `elements` of input over all of them."""

    operator: Operator
    calls: int
    elements: int

    @property
    def key(self) -> str:
        """See `Movable.key`."""
        return self.operator.key

    @property
    def names(self) -> tuple[str, ...]:
        """See `Movable.names`."""
        return (self.operator.name, self.operator.short_name, self.key)

    @property
    def text(self) -> str:
        """See `Movable.text`."""
        return self.operator.describe()


def units_of(subject: Subject) -> list[OffloadUnit]:
    """The subject's units in the order of the graph."""
    calls: dict[str, int] = {}
    elements: dict[str, int] = {}
    for recording in subject.recordings:
        for step in recording.steps:
            key = step.operator.key
            calls[key] = calls.get(key, 0) + 1
            elements[key] = elements.get(key, 0) + sum(recording.tensor(name).numel() for name in step.inputs)
    return [OffloadUnit(subject.operators[key], calls[key], elements[key]) for key in calls]


def ordered(units: Sequence[U], order: str) -> list[U]:
    """Units in the order they move.

    `common`: from many calls on small tensors to few on large ones. `graph`: as they come. Else globs with commas
    between (as in `Operator.matches`): what they match first, the rest after. Raises `BadOption` for a glob that
    matches nothing.
    """
    if order == "graph":
        return list(units)
    common = sorted(units, key=lambda u: (-u.calls, u.elements / u.calls, u.key))
    if order == "common":
        return common
    globs = [part.strip() for part in order.split(",") if part.strip()]
    for glob in globs:
        if not any(fnmatch.fnmatchcase(name, glob) for unit in units for name in unit.names):
            raise BadOption(f"--order {glob!r} matches no operator of the model", hint=f"{', '.join(ORDERS)}, or globs")

    def place(unit: U) -> int:
        return next((i for i, g in enumerate(globs) if any(fnmatch.fnmatchcase(n, g) for n in unit.names)), len(globs))

    return sorted(common, key=place)
