"""Running ahead: windows of bounded size, and nobody made to wait for what comes after a hang."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Crash, RunOutcome, Timeout, Unreachable, Unsupported
from tapml_fuzz.engine.prefetch import WINDOW, windows
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Trial
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tests.platforms.operators import SUB


def sub(value: float, rows: int = 2) -> Case:
    return Case(SUB, {"a": rows, "b": 3}, (np.full((rows, 3), value, np.float32), np.ones((rows, 3), np.float32)))


class Moody(CallableSession):
    """Subtracts; hangs at 13, crashes at 14, declines 15, is wrong at 16, slow at 17, away at 18.

    Remembers what it was asked.
    """

    def __init__(self) -> None:
        super().__init__("candidate", torch.sub, arrays="torch", positional=True, timeout=5.0)
        self.asked: list[float] = []

    def run(self, case: Case) -> RunOutcome:
        value = float(case.tensors[0].flat[0])
        self.asked.append(value)
        match value:
            case 13:
                return Timeout(1.0)
            case 14:
                return Crash(-11)
            case 15:
                return Unsupported("not this one")
            case 16:
                return super().run(sub(99))
            case 17:
                time.sleep(0.3)
            case 18:
                return Unreachable("gone")
        return super().run(case)


@pytest.fixture
def candidate() -> Moody:
    return Moody()


@pytest.fixture(params=[True, False], ids=["overlapping", "in turn"])
def runner(request: pytest.FixtureRequest, candidate: Moody) -> Iterator[DifferentialRunner]:
    made = DifferentialRunner(
        "torch-cpu", InProcessSession("torch-cpu"), {"candidate": candidate}, overlap=request.param
    )
    yield made
    made.close()


def kinds(trial: Trial) -> list[str | None]:
    return [result.verdict.kind for result in trial.results]


def test_every_case_has_its_own_verdict_in_order(runner: DifferentialRunner) -> None:
    values = [1, 13, 2, 14, 15, 14, 13, 16, 3]
    judged = dict(runner.trials((sub(v), n) for n, v in enumerate(values)))
    assert list(judged) == [*range(9)]
    found = [kinds(trial) for trial in judged.values()]
    assert found == [[None], ["timeout"], [None], ["crash"], [], ["crash"], ["timeout"], ["wrong"], [None]]
    for number, trial in judged.items():
        assert trial.case.tensors[0].flat[0] == values[number]
        assert all(result.case is trial.case for result in trial.results)


def test_what_comes_after_a_hang_is_run_when_it_is_asked_for(runner: DifferentialRunner, candidate: Moody) -> None:
    trials = runner.trials((sub(v), None) for v in (1, 13, 13, 13))
    next(trials)
    next(trials)
    assert candidate.asked == [1, 13]
    next(trials)
    assert candidate.asked == [1, 13, 13]


def test_no_more_is_run_ahead_than_half_a_second_takes(candidate: Moody) -> None:
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": candidate})
    try:
        for count, _ in enumerate(runner.trials((sub(17), None) for _ in range(4)), 1):
            assert len(candidate.asked) == count
        candidate.asked.clear()
        quick = runner.trials((sub(1), None) for _ in range(30))
        for count in (1, 1 + WINDOW):
            next(quick)
            assert len(candidate.asked) == count
    finally:
        runner.close()


def test_the_bench_can_be_used_between_two_trials(runner: DifferentialRunner) -> None:
    values = [16 if n % 5 == 0 else 20 + n for n in range(20)]
    found = []
    for value, trial in runner.trials((sub(v), v) for v in values):
        found.append((value, kinds(trial)))
        assert kinds(runner.trial(sub(16))) == ["wrong"]
    assert found == [(value, ["wrong"] if value == 16 else [None]) for value in values]


def test_who_missed_a_case_is_said_of_that_case(candidate: Moody) -> None:
    """A window that ran before a machine was lost answers for itself, whatever has happened since."""
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": candidate})
    try:
        runner.trial(sub(1))
        trials = runner.trials((sub(v), None) for v in (2, 3, 4))
        next(trials)
        assert candidate.asked[-3:] == [2, 3, 4]
        lost = runner.trial(sub(18))
        assert (lost.missed, lost.refused) == ({"candidate"}, {"candidate": "gone"})
        for _, trial in trials:
            assert kinds(trial) == [None]
            assert not trial.missed
    finally:
        runner.close()


def test_windows_are_bounded_and_made_one_at_a_time() -> None:
    made: list[int] = []

    def cases(rows: int) -> Iterator[tuple[Case, int]]:
        for number in itertools.count():
            made.append(number)
            yield sub(0, rows), number

    small = windows(cases(2), lambda: WINDOW)
    assert [tag for _, tag in next(small)] == [*range(WINDOW)]
    assert made == [*range(WINDOW)]
    large = windows(cases(1 << 15), lambda: WINDOW)
    assert [len(next(large)) for _ in range(3)] == [2, 2, 2]
    huge = windows(cases(1 << 18), lambda: WINDOW)
    assert [len(next(huge)) for _ in range(2)] == [1, 1]
    assert [len(next(windows(cases(2), lambda: 1))) for _ in range(2)] == [1, 1]
