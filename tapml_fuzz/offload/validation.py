"""A unit alone: its own calls first, then recipes around them; what fails is reduced and filed as in a campaign."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Unreachable, Unsupported
from tapml_fuzz.core.profile import profile_of
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.offload.cases import cases_of
from tapml_fuzz.offload.hybrid import lost
from tapml_fuzz.offload.repetition import FlakyRun
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.units import OffloadUnit
from tapml_fuzz.offload.walk import Alone
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.triage.filing import Filer
from tapml_fuzz.triage.fingerprint import fingerprint_of

_SLICE = 64  # recipes between two looks at the clock


class Validation:
    """Validates units of `subject` on the platform of `candidate`, which is the only candidate of `runner`.

    `fuzz` are the seconds of fuzzing after a unit's own calls have passed, `reduce` those for reducing a failure.
    """

    def __init__(
        self,
        subject: Subject,
        runner: DifferentialRunner,
        candidate: Session,
        filer: Filer,
        *,
        fuzz: float,
        reduce: float,
    ) -> None:
        self._subject, self._runner, self._candidate, self._filer = subject, runner, candidate, filer
        self._fuzz, self._reduce = fuzz, reduce

    def __call__(self, unit: OffloadUnit) -> Alone:
        """Run the unit alone and judge it. Raises `UnavailablePlatform` when the target no longer answers."""
        cases = cases_of(self._subject.recordings, unit.key)
        refused = self._refused(cases[0])
        if refused:
            return Alone(unsupported=True, reason=refused)
        before = {record.id for record in self._filer.met()}
        failures = self._failures(_seed_set(cases))
        met = self._filer.met()
        findings = tuple(r.id for r in met if r.id not in before or r.operator_key == unit.key)
        if not failures:
            return Alone(findings=findings)
        worst = max(failures, key=lambda r: r.verdict.metrics.ratio)
        told = f"{len(failures)} of its {len(cases)} calls: {worst.verdict.kind}, {worst.verdict.message}"
        return Alone(failed=True, reason=told, findings=findings)

    def file(self, key: str, flaky: FlakyRun) -> tuple[str, ...]:
        """File a unit that is right at some runs only; no finding where the oracle cannot say what is right."""
        if flaky.truth is None:
            return ()
        seed_set = _seed_set(cases_of(self._subject.recordings, key))
        result = Result(self._candidate.name, flaky.case, flaky.verdict, flaky.outcome, flaky.truth)
        fingerprint = fingerprint_of(result, seed_set)
        assert fingerprint is not None
        if self._filer.claim(fingerprint):
            failure = Failure(fingerprint, result, result, seed_set)
            self._filer.found(failure)
            # Reduced as it is: what comes at some runs only cannot be seen to stay while it is made smaller.
            self._filer.reduced(replace(failure, reproducer=self._runner.reproducer(result.platform, flaky.case)))
        return (fingerprint,)

    def _failures(self, seed_set: SeedSet) -> Sequence[Result]:
        """The failures on the unit's own calls; where there are none, it is fuzzed, which blocks nothing."""
        sink = _UnitSink(self._filer)
        options = FuzzOptions(reduce_seconds=self._reduce)
        OperatorFuzzer(seed_set, self._runner, sink, options).replay(len(seed_set.seeds))
        for name, reason in sink.missed.items():  # a target that went away has not passed
            raise lost(name, reason)
        if sink.failures or not self._fuzz:
            return sink.failures
        until = time.monotonic() + self._fuzz
        fuzzer = OperatorFuzzer(
            seed_set, self._runner, _UnitSink(self._filer), options, Stop(expired=lambda: time.monotonic() > until)
        )
        number = 0
        while time.monotonic() <= until:
            fuzzer.search(_SLICE, _SLICE * number, number)
            number += 1
        return ()

    def _refused(self, case: Case) -> str:
        """Why the target does not take the unit, in its own words; empty when it does."""
        built = self._candidate.build(case.operator, case.dtypes, case.sizes)
        outcome = built if isinstance(built, Unsupported) else self._candidate.run(case)
        if isinstance(outcome, Unreachable):
            raise lost(self._candidate.name, outcome.reason)
        return outcome.reason if isinstance(outcome, Unsupported) else ""


class _UnitSink:
    """Files what fails, and keeps which calls failed and who does not answer any more, with the reason."""

    def __init__(self, filer: Filer) -> None:
        self._filer = filer
        self.failures: list[Result] = []
        self.missed: dict[str, str] = {}

    def tried(self, trial: Trial) -> None:
        self.failures += [result for result in trial.results if result.verdict.failed]
        # The first reason says how a machine was lost, later ones only that it is.
        self.missed = {name: self.missed.get(name, trial.refused[name]) for name in trial.missed}

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return self._filer.fingerprint(result, seed_set)

    def claim(self, fingerprint: str) -> bool:
        return self._filer.claim(fingerprint)

    def found(self, failure: Failure) -> None:
        self._filer.found(failure)

    def reduced(self, failure: Failure) -> None:
        self._filer.reduced(failure)


def _seed_set(cases: Sequence[Case]) -> SeedSet:
    """The calls of one operator as seeds, with what their values look like."""
    columns = zip(*(case.tensors for case in cases), strict=True)
    return SeedSet(cases[0].operator, tuple(profile_of(list(column)) for column in columns), tuple(cases))
