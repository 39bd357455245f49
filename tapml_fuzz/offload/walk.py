"""The walk: units move to the target one at a time, each validated alone and then in the model.

What fails stays on the reference platform, and the walk goes on without it, so a failure in the model can only come
from the last move, alone or together with units that were moved before; or from a unit that was right by luck, which
then is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, Protocol

import msgspec

from tapml_fuzz.core.walk_summary import Growth
from tapml_fuzz.offload import blame
from tapml_fuzz.offload.hybrid import Assignment, CannotRun, Hybrid
from tapml_fuzz.offload.incremental import PriorRun
from tapml_fuzz.offload.ledger import Ledger, Trying, UnitResult, written
from tapml_fuzz.offload.repetition import FlakyRun, unsteady
from tapml_fuzz.offload.subject import Grown, ModelCheck, Subject
from tapml_fuzz.offload.units import Movable, U


class WalkModel(Protocol):
    """The model in which units move."""

    def check(self, assignment: Assignment, *, afresh: bool = False) -> ModelCheck:
        """Run it with `assignment`, beside the reference run. Raises `CannotRun`.

        What has not changed since the run that was accepted last need not run again, unless `afresh`.
        """

    def accept(self, check: ModelCheck) -> None:
        """That run is what the next ones are compared with."""

    def growth(self, assignment: Assignment, check: ModelCheck) -> tuple[Growth, ...]:
        """The way of a failure that `check` shows."""

    def unsteady(self, key: str, platform: str) -> Alone | None:
        """The result for a unit that is wrong at some runs on a platform; None when none is seen to be wrong."""


@dataclass
class Graph:
    """A subject in a hybrid of its platforms.

    Attributes:
        file: files the flaky run of a unit, given its key; returns the ids of the findings that it is.
    """

    subject: Subject
    hybrid: Hybrid
    file: Callable[[str, FlakyRun], tuple[str, ...]] = lambda key, flaky: ()
    _accepted: tuple[PriorRun, ...] = ()

    def check(self, assignment: Assignment, *, afresh: bool = False) -> ModelCheck:
        """See `WalkModel.check`."""
        if afresh:
            self.hybrid.forget()
        return self.subject.check(self.hybrid, assignment, () if afresh else self._accepted)

    def accept(self, check: ModelCheck) -> None:
        """See `WalkModel.accept`."""
        self._accepted = check.runs

    def growth(self, assignment: Assignment, check: ModelCheck) -> tuple[Growth, ...]:
        """See `WalkModel.growth`."""
        return blame.growth(self.subject, self.hybrid, assignment, check)

    def unsteady(self, key: str, platform: str) -> Alone | None:
        """See `WalkModel.unsteady`; what is wrong is filed with `file`."""
        flaky = unsteady(self.subject, self.hybrid, key, platform)
        return None if flaky is None else Alone(failed=True, reason=flaky.reason, findings=self.file(key, flaky))


@dataclass(frozen=True)
class Alone:
    """The result of validating a unit on its own calls.

    `unsupported` says that the platform does not take it. What crashed or hung by itself (`where`) is not run in the
    model.
    """

    failed: bool = False
    unsupported: bool = False
    reason: str = ""
    findings: tuple[str, ...] = ()
    where: Literal["alone", "crash", "hang"] = "alone"


@dataclass(frozen=True)
class Started:
    """Work on a unit begins; units are numbered from 1 in the order walked."""

    unit: Movable
    number: int
    total: int


@dataclass(frozen=True)
class Settled:
    """Work on a unit has ended; `resumed` says that it was settled in an earlier run of this walk."""

    result: UnitResult
    number: int
    total: int
    resumed: bool = False


Listener = Callable[[Started | Settled], None]


class Walker(Generic[U]):
    """One walk of `model` to the platform `target`; `validate` looks at a unit alone."""

    def __init__(
        self,
        model: WalkModel,
        target: str,
        ledger: Ledger,
        validate: Callable[[U], Alone],
        listener: Listener = lambda event: None,
    ) -> None:
        self._model, self._target = model, target
        self._ledger, self._validate, self._listener = ledger, validate, listener
        self.moved: dict[str, str] = {}

    def walk(self, units: Sequence[U]) -> list[UnitResult]:
        """Settle every unit, in order; those that the ledger has settled already are taken from it."""
        self._units = {unit.key: (unit, number) for number, unit in enumerate(units, start=1)}
        for unit, number in self._units.values():
            result = self._ledger.results.get(unit.key)
            resumed = result is not None
            if result is None:
                self._listener(Started(unit, number, len(units)))
                result = self._settle(unit)
            self._settled(result, resumed=resumed)
        return self.results

    @property
    def results(self) -> list[UnitResult]:
        """The result for every unit, in order; a unit may be taken back as long as the model runs."""
        return [self._ledger.results[key] for key in self._units]

    def final(self) -> ModelCheck:
        """The model with every moved unit on the target, everything run anew, and none left that is seen to fail.

        Raises `CannotRun`.
        """
        while True:
            check, error = self._tried(self.moved, afresh=True)
            if not _breaks(check, error):
                break
            every = list(self.moved)
            if not (self._took_back(every) or self._took_back_smallest() or self._took_back(every, check)):
                break
        if error is not None:
            raise error
        assert check is not None
        return check

    def _settled(self, result: UnitResult, *, resumed: bool = False) -> None:
        if not resumed:
            self._ledger.add(result)
        self.moved.pop(result.key, None)
        if result.status == "moved":
            self.moved[result.key] = self._target
        self._listener(Settled(result, self._units[result.key][1], len(self._units), resumed))

    def _settle(self, unit: U) -> UnitResult:
        began = time.monotonic()
        died = self._ledger.deaths.get(unit.key)
        if died is not None:
            return self._result(unit, began, status="blocked", where=died.where, reason=died.reason, noticed=True)
        alone = self._validate(unit)
        if alone.unsupported:
            return self._result(unit, began, status="unsupported", reason=alone.reason)
        if alone.where != "alone":
            facts: dict[str, object] = {"where": alone.where, "reason": alone.reason, "findings": alone.findings}
            return self._result(unit, began, status="blocked", noticed=True, **facts)
        self._ledger.add(Trying(unit.key))
        if not alone.failed and (flaky := self._model.unsteady(unit.key, self._target)):
            alone = replace(flaky, findings=_each_once(alone.findings, flaky.findings))
        partners: tuple[str, ...] | None = ()
        while True:
            trial = {**self.moved, unit.key: self._target}
            check, error = self._tried(trial)
            if alone.failed or not _breaks(check, error):
                break
            partners = self._partners(unit)
            if not (self._took_back(list(self.moved), check) if partners is None else self._took_back(partners)):
                break
        if error is not None:
            return self._did_not_run(unit, alone, error, partners or (), began)
        assert check is not None
        seen = {"noticed": check.failed, "worst": written(check.worst.ratio), "view": check.view}
        if alone.failed:
            facts = {"reason": alone.reason, "findings": alone.findings, **seen}
            return self._result(unit, began, status="blocked", where="alone", **facts)
        if not check.failed:
            self._model.accept(check)
            return self._result(unit, began, status="moved", findings=alone.findings, **seen)
        return self._result(
            unit,
            began,
            status="blocked",
            where="model",
            reason=_told(check),
            findings=alone.findings,
            partners=partners or (),
            growth=self._model.growth(trial, check),
            **seen,
        )

    def _tried(
        self, assignment: Assignment, *, afresh: bool = False
    ) -> tuple[ModelCheck, None] | tuple[None, CannotRun]:
        try:
            return self._model.check(assignment, afresh=afresh), None
        except CannotRun as error:
            return None, error

    def _took_back(self, keys: Sequence[str], failed: ModelCheck | None = None) -> bool:
        """Tell whether one of these units, which have moved, was right by luck; that one is taken back.

        It is the one that is seen to be wrong alone; else, where `failed` shows a failure that comes and goes, the
        one that gave the first value outside its bound.
        """
        first = failed.first if failed is not None else None
        for key in sorted(keys, key=lambda key: first is None or key != first.key):
            if flaky := self._model.unsteady(key, self._target):
                findings = _each_once(self._ledger.results[key].findings, flaky.findings)
                self._take_back(key, where="alone", reason=flaky.reason, findings=findings)
                return True
        if first is None or first.key not in keys:
            return False
        self._take_back(first.key, where="model", reason=f"at some runs of the model, not at all: {_outside(first)}")
        return True

    def _took_back_smallest(self) -> bool:
        """Tell whether the model fails every time it is run anew, so that the last of a smallest failing set is back.

        What failed then was not run again in the trials, or had other tensors there.
        """

        def fails(keys: frozenset[str]) -> bool:
            return _breaks(*self._tried(dict.fromkeys(keys, self._target), afresh=True))

        every = list(self.moved)
        if not fails(frozenset(every)):
            return False
        guilty = blame.smallest_failing(every, fails)
        if not guilty or not fails(frozenset(guilty)) or fails(frozenset(guilty[:-1])):
            return False
        reason = "right in its trial, in the model wrong when everything runs anew"
        self._take_back(guilty[-1], where="model", reason=reason, partners=guilty[:-1])
        return True

    def _take_back(self, key: str, **facts: str | tuple[str, ...]) -> None:
        before = self._ledger.results[key]
        self._settled(msgspec.structs.replace(before, status="blocked", noticed=True, **facts))

    def _did_not_run(
        self, unit: U, alone: Alone, error: CannotRun, partners: tuple[str, ...], began: float
    ) -> UnitResult:
        if alone.failed:
            facts = {"reason": alone.reason, "findings": alone.findings, "noticed": True}
            return self._result(unit, began, status="blocked", where="alone", **facts)
        if error.refused:  # a call that was not among those replayed alone
            return self._result(unit, began, status="unsupported", reason=str(error)[:300], findings=alone.findings)
        facts = {"reason": str(error)[:300], "partners": partners, "noticed": True, "findings": alone.findings}
        return self._result(unit, began, status="blocked", where="model", **facts)

    def _partners(self, unit: U) -> tuple[str, ...] | None:
        return blame.partners(self._model.check, self._target, unit.key, list(self.moved))

    def _result(self, unit: U, began: float, **facts: object) -> UnitResult:
        seconds = round(time.monotonic() - began, 3)
        return UnitResult(unit.key, unit.text, unit.calls, seconds=seconds, **facts)  # type: ignore[arg-type]


def _each_once(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*some, *others)))


def _breaks(check: ModelCheck | None, error: CannotRun | None) -> bool:
    """Tell whether the model failed; what a platform refuses is no failure."""
    return not error.refused if error is not None else check is not None and check.failed


def _told(check: ModelCheck) -> str:
    first = check.first
    assert first is not None
    return f"alone it is right, in the model {_outside(first)}"


def _outside(value: Grown) -> str:
    return f"{value.value} ({value.module or 'no module'}) is {value.ratio:.3g} times what may come of it"
