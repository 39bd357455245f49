"""The throughput benchmark's own arithmetic, and that it measures what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.throughput import campaign, isolation, run
from benchmarks.throughput.inputs import NEAR, cases
from benchmarks.throughput.worker import Rate, Speed, speed
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Ok, RunOutcome, Unsupported
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.strategies import SeedSet, from_corpus


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


class Picky(InProcessSession):
    """Declines empty tensors and any shape but the first; says that each run took a millisecond inside."""

    def __init__(self) -> None:
        super().__init__("torch-cpu")
        self.shapes: set[tuple[tuple[int, ...], ...]] = set()

    def run(self, case: Case) -> RunOutcome:
        if self.shapes and case.shapes not in self.shapes:
            return Unsupported("another shape")
        self.shapes.add(case.shapes)
        return Ok(tuple(np.zeros(t.shape) for t in case.tensors), 0.001)


def test_cases_are_of_the_sizes_asked_for(tanh: SeedSet) -> None:
    near = cases(tanh, NEAR, 6)
    assert len(near) == 6
    assert all(case.elements in NEAR and case.dtypes == tanh.operator.dtypes for case in near)
    assert len({case.id for case in near}) == 6
    assert cases(tanh, range(0), 6) == []


def test_only_what_runs_is_timed(tanh: SeedSet) -> None:
    measured = speed(Picky(), tanh, 0.02)
    assert measured is not None
    assert measured.near is not None
    assert measured.build is None, "torch compiles nothing"
    assert measured.near.elements in NEAR
    assert measured.near.inside == pytest.approx(0.001 * measured.near.runs)
    assert measured.near.seconds >= 0.02


def test_every_operator_counts_alike() -> None:
    speeds = [
        Speed("a", 0.1, 0.01, Rate(1000, 1.0, 0.5, 4000), None),
        Speed("b", 0.3, 0.03, Rate(10, 1.0, 0.8, 2000), None),
        Speed("c", None, 0.02, None, Rate(1, 1.0, 1.0, 1)),
    ]
    summary = run._summary(speeds)
    assert summary["build_ms"] == pytest.approx(200)
    assert summary["first_call_ms"] == pytest.approx(20)
    near = summary["near_4k"]
    assert near["operators"] == 2
    assert near["trials_per_s"] == pytest.approx(2 / (0.001 + 0.1))
    assert near["inside"] == pytest.approx((0.0005 + 0.08) / (0.001 + 0.1))
    assert summary["any_size"]["trials_per_s"] == pytest.approx(1)


def test_parts_of_a_trial_add_up(tanh: SeedSet) -> None:
    runner = DifferentialRunner(
        "torch-cpu", InProcessSession("torch-cpu"), {"candidate": InProcessSession("torch-cpu")}
    )
    try:
        figures = campaign.measure(tanh, runner, 0.5)
    finally:
        runner.close()
    seen = campaign.per_trial([figures, figures])
    assert seen["trials"] == 2 * figures["trials"] > 0
    waited = seen["reference"] + seen["candidate"]
    assert seen["own"] + waited == pytest.approx(1e3 / seen["trials_per_s"])
    assert min(seen.values()) >= 0


def test_a_worker_costs_something_and_a_window_less(tanh: SeedSet) -> None:
    costs = isolation.overhead("torch-cpu", {"tanh": tanh}, 1.0)
    assert costs["operators"] == 1
    assert 0 < costs["local"] < costs["window"] < costs["single"]
    assert costs["single_costs"] == pytest.approx(costs["single"] - costs["local"])


def test_table_and_json_hold_what_was_measured() -> None:
    summary = run._summary([Speed("a", 0.1, 0.01, Rate(1000, 1.0, 0.5, 4000), Rate(2000, 1.0, 0.5, 9000))])
    whole = {"trials_per_s": 321.0, "own": 1.25}
    result = {
        "platforms": {"fast": {**summary, "campaign": whole}, "gone": {"unavailable": "no such device"}},
        "isolation": {},
    }
    text = run.table(result)
    assert "| fast | 100 | 10.00 | 1,000 (1,000) | 50% | 2,000 | 321 | 1.25 |" in text
    assert "no such device" in text
    assert json.loads(json.dumps(run._rounded({"x": [1.23456, 7]}))) == {"x": [1.235, 7]}
