"""One operator: in which order it is fuzzed, and what becomes of a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.engine import runner as running
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.oracle import Truth, truth
from tapml_fuzz.strategies import SeedSet, from_corpus
from tests.engine.sinks import Remembering, runner_of


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


def large_wrong(x: torch.Tensor) -> torch.Tensor:
    """Off by one where a value exceeds 0.05, as some do in every recorded call."""
    return torch.tanh(x) + (x > 0.05)


def test_recorded_seeds_go_first_and_a_budget_of_trials_is_kept(tanh: SeedSet) -> None:
    sink = Remembering()
    with runner_of(torch.tanh) as runner:
        OperatorFuzzer(tanh, runner, sink).within(Budget(trials=40), seed=1)
    origins = [trial.case.origin for trial in sink.trials]
    assert all(origin.startswith("seed:") for origin in origins[:2])
    assert len(origins) <= 40
    assert sum(origin.startswith("seed:") for origin in origins) >= min(20, len(tanh.seeds))
    assert not sink.first


def test_a_failure_is_reported_as_found_and_then_reduced(tanh: SeedSet) -> None:
    sink = Remembering()
    with runner_of(large_wrong) as runner:
        OperatorFuzzer(tanh, runner, sink).within(Budget(trials=120), seed=1)
    found, last = (next(f for f in failures if f.fingerprint == "wrong") for failures in (sink.first, sink.last))
    assert found.best is found.found
    assert (last.found.case.id, last.fingerprint) == (found.found.case.id, "wrong")
    assert last.best.case.elements == 1
    assert last.best.case.tensors[0].item() > 0.05
    assert last.best.verdict.metrics.ratio >= 4  # clearly outside the bound, as it was


def test_nothing_is_reduced_that_nobody_claims_or_after_a_stop(tanh: SeedSet) -> None:
    sink = Remembering(claims=False)
    with runner_of(large_wrong) as runner:
        OperatorFuzzer(tanh, runner, sink).replay(5)
    assert any(result.verdict.failed for trial in sink.trials for result in trial.results)
    assert not sink.first
    stopped = Remembering()
    with runner_of(large_wrong) as runner:
        stop = Stop(stopped=lambda: bool(stopped.first))
        OperatorFuzzer(tanh, runner, stopped, FuzzOptions(), stop).replay(len(tanh.seeds))
    assert len(stopped.first) == 1
    assert not stopped.last


def test_a_failure_is_looked_for_on_the_seeds_that_wait(tanh: SeedSet) -> None:
    """The failing recipe is enumerated; a recorded seed that fails so too is the finding."""
    sink = Remembering()
    with runner_of(large_wrong) as runner:
        fuzzer = OperatorFuzzer(tanh, runner, sink)
        fuzzer.search(200, 0, 1, waiting=tanh.seeds)
    found = next(f for f in sink.first if f.fingerprint == "wrong")
    assert found.recipe is None
    assert found.found.case.origin.startswith("seed:")


def test_time_that_is_up_ends_everything(tanh: SeedSet) -> None:
    sink = Remembering()
    with runner_of(torch.tanh) as runner:
        fuzzer = OperatorFuzzer(tanh, runner, sink, stop=Stop(expired=lambda: len(sink.trials) >= 3))
        fuzzer.replay(2)
        fuzzer.search(100, 0, 1)
        fuzzer.replay(2)
    assert len(sink.trials) == 3


def test_what_cannot_be_judged_is_no_step_of_a_reduction(tanh: SeedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle fails on fewer than eight elements: the finding is reduced to no fewer, and stays."""

    def failing(operator: Operator, tensors: Sequence[Array], *rest: Any, **options: Any) -> Truth:
        if tensors[0].size < 8:
            raise ValueError("too few")
        return truth(operator, tensors, *rest, **options)

    monkeypatch.setattr(running, "truth", failing)
    sink = Remembering()
    with runner_of(large_wrong) as runner:
        OperatorFuzzer(tanh, runner, sink).replay(2)
    (last,) = sink.last
    assert 8 <= last.best.case.elements < last.found.case.elements
