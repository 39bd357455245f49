"""Everything that is compared: the baselines, the package, and the package with one part switched off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import numpy as np

from benchmarks.detection.baselines import RULES, Rule, far_for_dtype, made_up
from benchmarks.detection.model import Control, Subject
from benchmarks.detection.ours import Parts, fuzzer
from benchmarks.detection.outcome import Detection, Outcome
from benchmarks.detection.session import ControlSession
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.outcome import Ok, RunOutcome
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.operators.invoke import to_torch
from tapml_fuzz.oracle import Truth
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.torch.eager import TorchCpu
from tapml_fuzz.strategies import PHASES, SeedSet

OURS = "ours"
NO_SEEDS = "no seeds"
_Tag = TypeVar("_Tag")


@dataclass(frozen=True)
class Limits:
    """How long one run may take, whether it ends with the first failure, and whether only believable ones count."""

    trials: int
    seconds: float
    stop: bool = True
    realistic: bool = False


@dataclass(frozen=True)
class Method:
    """A way to test an implementation; `run(control, subject, limits, seed)`."""

    name: str
    about: str
    run: Callable[[Control, Subject, Limits, int], Outcome]


@cache
def recorded(subject: Subject) -> SeedSet:
    """The subject's recorded calls as a source."""
    return subject.source()


@cache
def without_recordings(subject: Subject) -> SeedSet:
    """The same shapes, with values that somebody without recordings would write."""
    real = recorded(subject)
    examples = subject.examples()
    tensors = made_up(real, np.random.default_rng(0))
    return subject.source(
        [_refilled(args, [to_torch(t) for t in new]) for args, new in zip(examples, tensors, strict=True)]
    )


def _refilled(args: tuple[object, ...], tensors: list[object]) -> tuple[object, ...]:
    """The same call on other tensors, in order, inside lists too."""
    rest = iter(tensors)

    def fill(value: object) -> object:
        if hasattr(value, "shape"):
            return next(rest)
        return [fill(v) for v in value] if isinstance(value, list | tuple) else value

    return tuple(fill(a) for a in args)


class ToleranceRunner(DifferentialRunner):
    """Judges by a fixed tolerance against the reference platform, in place of the error model."""

    def trials(
        self, cases: Iterable[tuple[Case, _Tag]], only: str | None = None, *, repeat: bool = False
    ) -> Iterator[tuple[_Tag, Trial]]:
        return ((tag, Trial(case, tuple(self._judged_by_tolerance(case)))) for case, tag in cases)

    def _judged_by_tolerance(self, case: Case) -> list[Result]:
        reference = self.reference.run(case)
        if not isinstance(reference, Ok):
            return []
        empty = Truth((), (), (), (), ())
        return [
            Result(name, case, _by_tolerance(case, session.run(case), reference), reference, empty)
            for name, session in self.candidates.items()
        ]


def _by_tolerance(case: Case, outcome: RunOutcome, reference: Ok[Array]) -> Verdict:
    return Verdict("wrong" if _fails(case, outcome, reference, far_for_dtype) else None)


def _fails(case: Case, outcome: RunOutcome, reference: Ok[Array], wrong: Callable[..., bool]) -> bool:
    if not isinstance(outcome, Ok) or len(outcome.outputs) != len(reference.outputs):
        return True
    return any(
        got.shape != expected.shape or name_of(got) != name_of(expected) or wrong(case, got, expected, n)
        for n, (got, expected) in enumerate(zip(outcome.outputs, reference.outputs, strict=True))
    )


def _by_rule(rule: Rule, control: Control, subject: Subject, limits: Limits, seed: int) -> Outcome:
    session, reference = ControlSession(control), InProcessSession(TorchCpu())
    source, outcome = recorded(subject), Outcome()
    began = time.perf_counter()
    try:
        for case in rule.cases(source, control.dtypes, np.random.default_rng(seed)):
            expected = reference.run(case)
            if isinstance(expected, Ok):
                outcome.trials += 1
                if _fails(case, session.run(case), expected, rule.wrong):
                    outcome.failures += 1
                    if outcome.first is None:
                        outcome.first = Detection(outcome.trials, time.perf_counter() - began, "wrong", "", case=case)
            outcome.seconds = time.perf_counter() - began
            if (
                outcome.seconds > limits.seconds
                or outcome.trials >= limits.trials
                or (limits.stop and outcome.failures)
            ):
                break
    finally:
        session.close()
        reference.close()
    return outcome


def _ours(
    parts: Parts, source: Callable[[Subject], SeedSet], control: Control, subject: Subject, limits: Limits, seed: int
) -> Outcome:
    return fuzzer(
        control,
        source(subject),
        trials=limits.trials,
        seconds=limits.seconds,
        seed=seed,
        stop=limits.stop,
        parts=parts,
        believed=recorded(subject) if limits.realistic else None,
    )


def _without(phase: str) -> Parts:
    return Parts(phases=tuple(p for p in PHASES if p != phase))


def _all() -> list[Method]:
    baselines = [Method(r.name, r.about, partial(_by_rule, r)) for r in RULES]
    own = [
        Method(OURS, "this package", partial(_ours, Parts(), recorded)),
        Method(NO_SEEDS, "ours, normal(0, 1) in place of recordings", partial(_ours, Parts(), without_recordings)),
        Method("no shapes", "ours without boundary shapes", partial(_ours, _without("shapes"), recorded)),
        Method("no structure", "ours without structure", partial(_ours, _without("structure"), recorded)),
        Method("no search", "ours without steering by `target`", partial(_ours, Parts(steer=False), recorded)),
        Method(
            "tolerance",
            "ours with 1e-5 (half: 1e-2) for the error model",
            partial(_ours, Parts(runner=ToleranceRunner), recorded),
        ),
    ]
    return baselines + own


METHODS: Mapping[str, Method] = {method.name: method for method in _all()}
