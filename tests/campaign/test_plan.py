"""Plans: which operator is worked on next, and for how many trials."""

from __future__ import annotations

from itertools import islice

import pytest

from tapml_fuzz.campaign.plan import plan
from tapml_fuzz.engine.budget import Budget

OPERATORS = {"softmax-1": 6, "gelu-2": 3, "view-3": 1}


@pytest.mark.parametrize("trials", [1, 2, 7, 60, 1000, 4096])
@pytest.mark.parametrize("platforms", [1, 3])
def test_a_budget_of_trials_is_planned_exactly(trials: int, platforms: int) -> None:
    tasks = list(plan(OPERATORS, platforms, Budget(trials=trials), seed=3))
    assert sum(t.examples for t in tasks) == max(1, trials // platforms)
    assert tasks == list(plan(OPERATORS, platforms, Budget(trials=trials), seed=3))
    drawn = [t for t in tasks if not t.replay]
    assert len({t.seed for t in drawn}) == len(drawn)
    assert not drawn or drawn != [t for t in plan(OPERATORS, platforms, Budget(trials=trials), seed=4) if not t.replay]


def test_a_budget_of_time_replays_every_seed_first_and_never_ends() -> None:
    tasks = list(islice(plan(OPERATORS, 2, Budget(seconds=1.0), seed=0), 30))
    assert [(t.operator, t.examples) for t in tasks[:3]] == list(OPERATORS.items())
    assert all(t.replay for t in tasks[:3])
    assert not any(t.replay for t in tasks[3:])
    assert [t.examples for t in tasks[3::3]] == sorted(t.examples for t in tasks[3::3])


@pytest.mark.parametrize("budget", [Budget(trials=10), Budget(seconds=1.0)])
def test_without_operators_there_is_nothing_to_do(budget: Budget) -> None:
    assert list(plan({}, 2, budget, seed=0)) == []
