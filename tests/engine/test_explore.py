"""Hypothesis as the driver: up to the first failure that is wanted, which is shrunk."""

from __future__ import annotations

import pytest
import torch

from tapml_fuzz.engine.explore import explore
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.strategies import SeedSet, from_corpus
from tests.engine.sinks import Remembering, runner_of


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


def overflowing(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(2 * x.float())
    return ((powers - 1) / (powers + 1)).to(x.dtype)


def test_the_first_failure_ends_it_and_is_shrunk(tanh: SeedSet) -> None:
    sink = Remembering()
    with runner_of(overflowing) as runner:
        drawn = explore(tanh, runner, sink, FuzzOptions(), Stop(), examples=200, seed=3)
    assert drawn.failure is not None
    (found,) = sink.first
    assert (drawn.failure.found, drawn.failure.fingerprint) == (found.found, found.fingerprint)
    assert drawn.failure.best.verdict.kind == found.fingerprint
    assert 1 <= drawn.tried <= 200
    assert not sink.last, "reduction is not its business"


def test_the_same_seed_draws_the_same_cases(tanh: SeedSet) -> None:
    def cases(seed: int) -> list[str]:
        sink = Remembering()
        with runner_of(torch.tanh) as runner:
            drawn = explore(tanh, runner, sink, FuzzOptions(), Stop(), examples=40, seed=seed)
        assert drawn.failure is None
        return [trial.case.id for trial in sink.trials]

    assert cases(5) == cases(5) != cases(6)


def test_only_the_phases_asked_for_are_drawn(tanh: SeedSet) -> None:
    sink = Remembering()
    with runner_of(torch.tanh) as runner:
        explore(tanh, runner, sink, FuzzOptions(phases=("shapes",)), Stop(), examples=40, seed=1)
    assert {trial.case.origin.split(":")[0] for trial in sink.trials} <= {"shapes", "seed"}


def test_what_hypothesis_takes_is_generation(tanh: SeedSet) -> None:
    with runner_of(torch.tanh) as runner:
        explore(tanh, runner, Remembering(), FuzzOptions(), Stop(), examples=20, seed=1)
        times = runner.stopwatch.times
    assert times.generate > 0
    assert times.oracle > 0
    assert times.reduce == 0
