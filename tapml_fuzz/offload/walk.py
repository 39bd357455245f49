"""The walk: units move to the target one at a time, each validated alone and then in the model.

What fails stays on the source platform, and the walk goes on without it, so a failure in the model can only come
from the last move, alone or together with units that were moved before.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.offload import blame
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid
from tapml_fuzz.offload.ledger import Ledger, Trying, UnitResult
from tapml_fuzz.offload.subject import Check, Subject
from tapml_fuzz.storage.findings import finite

ORDERS = ("common", "graph")


@dataclass(frozen=True)
class Unit:
    """An operator signature: all calls of one build together, with `elements` of input over all of them."""

    operator: Operator
    calls: int
    elements: int

    @property
    def key(self) -> str:
        return self.operator.key


@dataclass(frozen=True)
class Alone:
    """What validation of a unit on its own calls gave. `unsupported` says that the platform does not take it."""

    failed: bool = False
    unsupported: bool = False
    reason: str = ""
    findings: tuple[str, ...] = ()


Validate = Callable[[Unit], Alone]


@dataclass(frozen=True)
class Started:
    unit: Unit
    number: int
    total: int


@dataclass(frozen=True)
class Settled:
    """`resumed`: it was settled in an earlier run of this walk."""

    result: UnitResult
    number: int
    total: int
    resumed: bool = False


Listener = Callable[[Started | Settled], None]


def units_of(subject: Subject) -> list[Unit]:
    """The subject's units in the order of the graph."""
    calls: dict[str, int] = {}
    elements: dict[str, int] = {}
    for recording in subject.recordings:
        for step in recording.steps:
            key = step.operator.key
            calls[key] = calls.get(key, 0) + 1
            elements[key] = elements.get(key, 0) + sum(recording.tensor(name).numel() for name in step.inputs)
    return [Unit(subject.operators[key], calls[key], elements[key]) for key in calls]


def ordered(units: Sequence[Unit], order: str) -> list[Unit]:
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
        if not any(unit.operator.matches([glob]) for unit in units):
            raise BadOption(f"--order {glob!r} matches no operator of the model", mend=f"{', '.join(ORDERS)}, or globs")

    def place(unit: Unit) -> int:
        texts = (unit.operator.name, unit.operator.short_name, unit.key)
        return next((i for i, g in enumerate(globs) if any(fnmatch.fnmatchcase(t, g) for t in texts)), len(globs))

    return sorted(common, key=place)


class Walker:
    """One walk of `subject` to the platform `target`, whose site is one of `hybrid`'s."""

    def __init__(
        self,
        subject: Subject,
        hybrid: Hybrid,
        target: str,
        ledger: Ledger,
        validate: Validate,
        listener: Listener = lambda event: None,
    ) -> None:
        self._subject, self._hybrid, self._target = subject, hybrid, target
        self._ledger, self._validate, self._listener = ledger, validate, listener
        self.moved: dict[str, str] = {}

    def walk(self, units: Sequence[Unit]) -> list[UnitResult]:
        """Settle every unit, in order; those that the ledger has settled already are taken from it."""
        results = []
        for number, unit in enumerate(units, start=1):
            result = self._ledger.results.get(unit.key)
            resumed = result is not None
            if result is None:
                self._listener(Started(unit, number, len(units)))
                result = self._settle(unit)
                self._ledger.add(result)
            if result.status == "moved":
                self.moved[unit.key] = self._target
            results.append(result)
            self._listener(Settled(result, number, len(units), resumed))
        return results

    def final(self) -> Check:
        """The model with every moved unit on the target. Raises `CannotRun`."""
        return self._subject.check(self._hybrid, self.moved)

    def _settle(self, unit: Unit) -> UnitResult:
        began = time.monotonic()
        died = self._ledger.deaths.get(unit.key)
        if died is not None:
            return self._result(unit, began, status="blocked", where=died.where, reason=died.reason, noticed=True)
        alone = self._validate(unit)
        if alone.unsupported:
            return self._result(unit, began, status="unsupported", reason=alone.reason)
        self._ledger.add(Trying(unit.key))
        trial = {**self.moved, unit.key: self._target}
        try:
            check = self._subject.check(self._hybrid, trial)
        except CannotRun as error:
            return self._did_not_run(unit, alone, error, began)
        seen = {"noticed": check.failed, "worst": finite(check.worst.ratio), "view": check.view}
        if alone.failed:
            facts = {"reason": alone.reason, "findings": alone.findings, **seen}
            return self._result(unit, began, status="blocked", where="alone", **facts)
        if not check.failed:
            return self._result(unit, began, status="moved", findings=alone.findings, **seen)
        return self._result(
            unit,
            began,
            status="blocked",
            where="model",
            reason=_told(check),
            findings=alone.findings,
            partners=blame.partners(self._subject, self._hybrid, self._target, unit.key, list(self.moved)),
            growth=blame.growth(self._subject, self._hybrid, trial, check),
            **seen,
        )

    def _did_not_run(self, unit: Unit, alone: Alone, error: CannotRun, began: float) -> UnitResult:
        if alone.failed:
            facts = {"reason": alone.reason, "findings": alone.findings, "noticed": True}
            return self._result(unit, began, status="blocked", where="alone", **facts)
        partners = blame.partners(self._subject, self._hybrid, self._target, unit.key, list(self.moved))
        facts = {"reason": str(error)[:300], "partners": partners, "noticed": True, "findings": alone.findings}
        return self._result(unit, began, status="blocked", where="model", **facts)

    def _result(self, unit: Unit, began: float, **facts: object) -> UnitResult:
        seconds = round(time.monotonic() - began, 3)
        return UnitResult(unit.key, unit.operator.describe(), unit.calls, seconds=seconds, **facts)  # type: ignore[arg-type]


def _told(check: Check) -> str:
    first = check.first
    assert first is not None
    return (
        f"alone it is right, in the model {first.value} ({first.module or 'no module'}) is {first.ratio:.3g} times "
        f"what may come of it"
    )
