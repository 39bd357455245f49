"""The differential runner: who is asked what, and what is said of those who do not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.campaign.attendance import Attendance
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.events import PlatformLost, PlatformReturned
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import RunError, RunOutcome, Unreachable
from tapml_fuzz.engine import runner as running
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Trial
from tapml_fuzz.oracle import OracleFailure, Truth, truth
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tests.platforms.operators import SUB


class Counting(CallableSession):
    """A candidate in this process that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__("candidate", torch.sub, arrays="torch", positional=True, timeout=5.0)
        self.asked = 0

    def run(self, case: Case) -> RunOutcome:
        self.asked += 1
        return super().run(case)


@pytest.mark.parametrize(("width", "tried"), [(3, True), (4, False)])
def test_a_candidate_here_is_not_asked_what_the_reference_platform_rejects(width: int, tried: bool) -> None:
    candidate = Counting()
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": candidate}, overlap=False)
    tensors = (np.ones((2, 3), np.float32), np.ones((2, width), np.float32))
    try:
        trial = runner.trial(Case(SUB, {"a": 2, "b": 3}, tensors))
    finally:
        runner.close()
    assert (len(trial.results), candidate.asked) == (int(tried), int(tried))
    assert [*trial.refused] == ([] if tried else ["torch-cpu"])
    assert tried or "must match" in trial.refused["torch-cpu"]


class Vanishing(Counting):
    """A candidate whose machine goes: the first answer says how it was lost, later ones that it still is; then back."""

    def run(self, case: Case) -> RunOutcome:
        self.asked += 1
        return Unreachable(f"reason {self.asked}") if self.asked < 3 else CallableSession.run(self, case)


def test_a_campaign_says_the_first_reason_of_an_absence_and_its_end() -> None:
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": Vanishing()}, overlap=False)
    case = Case(SUB, {"a": 2, "b": 3}, (np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)))
    attendance = Attendance(["candidate"])
    try:
        trials = [runner.trial(case) for _ in range(3)]
    finally:
        runner.close()
    assert [trial.missed for trial in trials] == [{"candidate"}, {"candidate"}, set()]
    heard = [list(attendance.noted(0, trial)) for trial in trials]
    assert heard == [[PlatformLost("candidate", "reason 1")], [], [PlatformReturned("candidate")]]


def test_a_loss_that_a_reduction_meets_first_is_told_with_its_own_reason() -> None:
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": Vanishing()}, overlap=False)
    case = Case(SUB, {"a": 2, "b": 3}, (np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)))
    try:
        runner.trial(case, only="candidate")
        assert runner.trial(case).refused == {"candidate": "reason 1"}
        assert runner.trial(case).missed == frozenset()
    finally:
        runner.close()


def test_a_platform_is_back_when_no_worker_misses_it() -> None:
    case = Case(SUB, {"a": 1, "b": 1}, (np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)))
    missed = Trial(case, refused={"candidate": "gone"}, missed=frozenset({"candidate"}))
    attendance = Attendance(["candidate"])
    told = [list(attendance.noted(worker, trial)) for worker, trial in [(0, missed), (1, missed), (0, Trial(case))]]
    assert told == [[PlatformLost("candidate", "gone")], [], []]
    assert list(attendance.noted(1, Trial(case))) == [PlatformReturned("candidate")]


class Rejecting(InProcessSession):
    """A reference platform that runs nothing."""

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]:
        return iter([RunError("no such shape") for _ in cases])


def test_who_does_not_answer_is_told_where_there_is_no_case_either() -> None:
    runner = DifferentialRunner("torch-cpu", Rejecting("torch-cpu"), {"candidate": Vanishing()})
    case = Case(SUB, {"a": 2, "b": 3}, (np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)))
    try:
        trial = runner.trial(case)
    finally:
        runner.close()
    assert (trial.missed, trial.results) == ({"candidate"}, ())
    assert trial.refused == {"torch-cpu": "no such shape", "candidate": "reason 1"}
    assert list(Attendance(["candidate"]).noted(0, trial)) == [PlatformLost("candidate", "reason 1")]


class Building(Counting):
    """A candidate that builds for 0.3 s and then takes as long to run."""

    def run(self, case: Case) -> RunOutcome:
        if not self.builds:
            time.sleep(0.3)
            self.builds, self.build_seconds = 1, 0.3
        time.sleep(0.3)
        return super().run(case)


def test_builds_side_by_side_do_not_lengthen_a_window() -> None:
    """What three candidates build at once is waited for once; a slow run keeps windows short all the same."""
    candidates = {f"candidate-{n}": Building() for n in range(3)}
    for name, session in candidates.items():
        session.name = name
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), candidates)
    case = Case(SUB, {"a": 2, "b": 3}, (np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)))
    try:
        runner.trial(case)
        next(runner.trials((case, None) for _ in range(16)))
    finally:
        runner.close()
    assert max(session.asked for session in candidates.values()) <= 3


def test_the_oracle_is_not_asked_past_its_failure_unless_the_reference_rejects_that_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    def failing(operator: Operator, tensors: Sequence[Array], *rest: Any, **options: Any) -> Truth:
        asked.append(float(tensors[0].flat[0]))
        if asked[-1] in (1, 2):
            raise ValueError("a rule's fault")
        return truth(operator, tensors, *rest, **options)

    def case(number: int, width: int = 3) -> Case:
        tensors = (np.full((2, 3), number, np.float32), np.ones((2, width), np.float32))
        return Case(SUB, {"a": 2, "b": 3}, tensors)

    monkeypatch.setattr(running, "truth", failing)
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": Counting()})
    runner._limit.cases = 5
    try:
        trials = runner.trials([(case(0), 0), (case(1, width=4), 1), (case(0), 2), (case(2), 3), (case(3), 4)])
        seen = [next(trials) for _ in range(3)]
        assert [[*trial.refused] for _, trial in seen] == [[], ["torch-cpu"], []]
        with pytest.raises(OracleFailure, match="a rule's fault"):
            next(trials)
    finally:
        runner.close()
    assert asked == [0, 1, 0, 2]
