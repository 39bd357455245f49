"""Budgets: seconds or trials, as text and as they are used up."""

from __future__ import annotations

import time

import pytest

from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.engine.budget import Budget


@pytest.mark.parametrize(
    ("text", "seconds", "trials"),
    [("60s", 60.0, None), ("1.5m", 90.0, None), ("2h", 7200.0, None), ("500trials", None, 500), ("1 trial", None, 1)],
)
def test_budget_forms(text: str, seconds: float | None, trials: int | None) -> None:
    budget = Budget.parse(text)
    assert (budget.seconds, budget.trials) == (seconds, trials)


@pytest.mark.parametrize("text", ["", "60", "s", "-5s", "0trials", "1.5trials", "10 parsecs", "1e3s"])
def test_bad_budget_says_what_is_good(text: str) -> None:
    with pytest.raises(BadOption, match="500trials"):
        Budget.parse(text)


def test_a_budget_of_trials_is_used_trial_by_trial_and_has_no_deadline() -> None:
    budget = Budget(trials=4).start()
    assert [budget.used(n) for n in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert budget.deadline == float("inf")


def test_a_budget_of_time_is_used_by_the_clock_alone() -> None:
    budget = Budget(seconds=1000.0).start()
    assert 0.0 <= budget.used(10**9) < 0.5
    assert 999.0 < budget.deadline - time.monotonic() <= 1000.0
