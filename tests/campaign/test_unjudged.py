"""An operator that the oracle cannot judge costs a campaign only itself."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tapml_fuzz import check
from tapml_fuzz.campaign.lineup import Lineup
from tapml_fuzz.campaign.run import Campaign, CampaignOptions
from tapml_fuzz.cli.run import exit_code
from tapml_fuzz.core import events
from tapml_fuzz.core.errors import NothingRan
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.engine import runner as running
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.explore import explore
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.oracle import NoTruth, OracleFailure, Truth, truth
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.reporting.formats.json import as_json
from tapml_fuzz.reporting.formats.markdown import as_markdown
from tapml_fuzz.reporting.formats.terminal import Terminal
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet, from_corpus
from tapml_fuzz.strategies.seed_set import from_examples

BUDGET = Budget.parse("60s")


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


@pytest.fixture(scope="module")
def random() -> SeedSet:
    return from_examples("aten.bernoulli.default", [([torch.rand(3, 4)], {})])


def overflowing(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(2 * x.float())
    return ((powers - 1) / (powers + 1)).to(x.dtype)


def campaign(
    seed_sets: list[SeedSet], output: Path, function: Callable[..., Any] = torch.tanh, *, budget: str = "80trials",
    workers: int = 1,
) -> tuple[RunSummary, list[events.Event], str]:  # fmt: skip
    """The summary, the events and what the terminal says."""
    heard: list[events.Event] = []
    said = io.StringIO()
    terminal = Terminal(said)
    lock = threading.Lock()

    def session() -> CallableSession:
        return CallableSession("candidate", function, arrays="torch", positional=True, timeout=5.0)

    def runner() -> DifferentialRunner:
        with lock:
            return DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": session()})

    def listen(event: events.Event) -> None:
        heard.append(event)
        terminal(event)

    infos = {"torch-cpu": InProcessSession("torch-cpu").info(), "candidate": session().info()}
    summary = Campaign(
        {seed_set.operator.key: seed_set for seed_set in seed_sets},
        Lineup("torch-cpu", infos, runner),
        FindingStore(output),
        CampaignOptions(Budget.parse(budget), workers=workers),
        listener=listen,
        writer=reproducers,
    ).run()
    return summary, heard, said.getvalue()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_others_go_on(tanh: SeedSet, random: SeedSet, tmp_path: Path, workers: int) -> None:
    summary, heard, said = campaign([random, tanh], tmp_path, workers=workers)
    key = random.operator.key
    assert list(summary.unjudged) == [key]
    assert "random" in summary.unjudged[key]
    assert summary.operators[key].trials == 0
    assert summary.operators[tanh.operator.key].trials > 20
    assert [e.operator for e in heard if isinstance(e, events.OperatorUnjudged)] == [random.operator.describe()]
    assert isinstance(heard[-1], events.CampaignFinished)
    closing = said[said.index("done:") :]
    assert key in closing
    assert "random" in closing
    assert key in as_markdown(summary)
    assert f'"{key}": "' in as_json(summary)
    assert exit_code(summary, BUDGET) == 0


def test_what_the_others_show_decides_the_exit_code(tanh: SeedSet, random: SeedSet, tmp_path: Path) -> None:
    summary, _, _ = campaign([random, tanh], tmp_path, overflowing)
    assert summary.findings
    assert exit_code(summary, BUDGET) == 1
    alone, _, _ = campaign([random], tmp_path / "alone", budget="60s")  # which it does not wait for
    assert alone.elapsed_s < 20
    with pytest.raises(NothingRan, match="no operator could be judged"):
        exit_code(alone, BUDGET)


def test_nothing_unjudged_is_said_where_all_is_judged(tanh: SeedSet, tmp_path: Path) -> None:
    summary, heard, said = campaign([tanh], tmp_path)
    assert summary.unjudged == {}
    assert not any(isinstance(e, events.OperatorUnjudged) for e in heard)
    assert "unjudged" not in said + as_markdown(summary)


class Failing:
    """The oracle, with a rule of one operator that raises from some call on."""

    def __init__(self, name: str, after: int) -> None:
        self.asked, self._name, self._after = 0, name, after

    def __call__(self, operator: Operator, *rest: Any, **options: Any) -> Truth:
        if operator.name == self._name:
            self.asked += 1
            if self.asked > self._after:
                raise ValueError("first line\nsecond line")
        return truth(operator, *rest, **options)


@pytest.mark.parametrize("after", [0, 3, 40])
def test_a_rule_that_fails_is_not_tried_again(
    tanh: SeedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    failing = Failing(tanh.operator.name, after)
    monkeypatch.setattr(running, "truth", failing)
    relu = from_examples("aten.relu.default", [([torch.randn(5, 6)], {})])
    summary, heard, _ = campaign([tanh, relu], tmp_path, torch.relu, budget="200trials")
    assert summary.unjudged == {tanh.operator.key: "the oracle failed: ValueError: first line"}
    assert after < failing.asked <= after + 16  # what was run ahead
    assert summary.operators[relu.operator.key].trials > 50
    assert sum(isinstance(e, events.OperatorUnjudged) for e in heard) == 1


class Unclaimed:
    """An `engine.failures.FailureSink` that wants nothing."""

    def tried(self, trial: Trial) -> None: ...
    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None: ...
    def claim(self, fingerprint: str) -> bool:
        raise AssertionError("nothing has a fingerprint")

    found = reduced = claim  # type: ignore[assignment]


def test_hypothesis_does_not_shrink_an_error_of_the_oracle(tanh: SeedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(tanh.operator.name, 10)
    monkeypatch.setattr(running, "truth", failing)
    candidate = CallableSession("candidate", torch.tanh, arrays="torch", positional=True, timeout=5.0)
    runner = DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": candidate}, overlap=False)
    try:
        with pytest.raises(OracleFailure, match="ValueError"):
            explore(tanh, runner, Unclaimed(), FuzzOptions(), Stop(), examples=60, seed=1)
    finally:
        runner.close()
    assert failing.asked == 11


def test_check_says_why_it_cannot_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoTruth, match="random"):
        check("aten.bernoulli.default", torch.bernoulli, inputs=[(torch.rand(3, 4),)], budget="20trials")

    def failing(*_: Any, **__: Any) -> Truth:
        raise ValueError("no such axis")

    monkeypatch.setattr(running, "truth", failing)
    with pytest.raises(OracleFailure, match="ValueError: no such axis"):
        check("aten.relu.default", torch.relu, inputs=[(torch.rand(3, 4),)], budget="20trials")
