"""A whole campaign in this process: real corpus, torch as the reference platform, a planted fault as the candidate."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from tapml_fuzz.campaign.lineup import Lineup
from tapml_fuzz.campaign.run import Campaign, CampaignOptions
from tapml_fuzz.campaign.summing import why_nothing_ran
from tapml_fuzz.core import events
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import RunOutcome, Unreachable, Unsupported
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.platforms.kernels.candidate import CallableSession
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet, from_corpus
from tests.summaries import entry


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


def right(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x)


def overflowing(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(2 * x.float())
    return ((powers - 1) / (powers + 1)).to(x.dtype)


class Recording(CallableSession):
    """Remembers every case it is given."""

    def __init__(self, function: Callable[..., Any], seen: list[str], stop_after: int = 0) -> None:
        super().__init__("candidate", function, arrays="torch", positional=True, timeout=5.0)
        self._seen, self._stop_after = seen, stop_after
        self.stop: Callable[[], None] = lambda: None

    def run(self, case: Case) -> RunOutcome:
        self._seen.append(case.id)
        if len(self._seen) == self._stop_after:
            self.stop()
        return super().run(case)


class Vanishing(Recording):
    """Like a platform on a machine that does not answer from its 20th to its 39th case."""

    def run(self, case: Case) -> RunOutcome:
        outcome = super().run(case)
        return Unreachable("nothing answers") if 20 <= len(self._seen) < 40 else outcome


def campaign(
    seed_set: SeedSet, function: Callable[..., Any], output: Path, *, budget: str = "120trials", seed: int = 0,
    workers: int = 1, stop_after: int = 0, kind: type[Recording] = Recording,
) -> tuple[RunSummary, list[str], list[events.Event]]:  # fmt: skip
    seen: list[str] = []
    heard: list[events.Event] = []
    session = Recording(function, seen, stop_after)
    infos = {"torch-cpu": InProcessSession("torch-cpu").info(), "candidate": session.info()}
    lock = threading.Lock()

    def runner() -> DifferentialRunner:
        with lock:
            mine = kind(function, seen, stop_after)
            mine.stop = run.stop
            return DifferentialRunner("torch-cpu", InProcessSession("torch-cpu"), {"candidate": mine})

    run = Campaign(
        {seed_set.operator.key: seed_set},
        Lineup("torch-cpu", infos, runner),
        FindingStore(output),
        CampaignOptions(Budget.parse(budget), seed=seed, workers=workers),
        listener=heard.append,
        writer=reproducers,
    )
    return run.run(), seen, heard


def test_correct_candidate_finds_nothing_and_counts_add_up(tanh: SeedSet, tmp_path: Path) -> None:
    summary, _seen, heard = campaign(tanh, right, tmp_path)
    assert summary.findings == ()
    operator = summary.operators[tanh.operator.key]
    assert summary.trials == summary.platforms["candidate"].trials == operator.trials
    assert 100 <= summary.trials <= 120
    worst = operator.platforms["candidate"].worst_passing_ratio
    assert worst is not None
    assert 0 < worst <= 1
    assert 0 < summary.time_s.candidate < summary.elapsed_s
    assert [type(e) for e in heard][:1] == [events.CampaignStarted]
    assert [type(e) for e in heard][-1:] == [events.CampaignFinished]


def test_fault_is_found_reduced_and_stored(tanh: SeedSet, tmp_path: Path) -> None:
    summary, _, heard = campaign(tanh, overflowing, tmp_path)
    finding = next(f for f in summary.findings if f.kind == "nonfinite" and f.realism != "special")
    assert finding.elements == 1
    assert finding.new
    assert finding.reduced
    assert any(isinstance(e, events.FindingFound) for e in heard)
    store = FindingStore.open(tmp_path)
    record = store.get(finding.id)
    evidence = store.evidence(record.id)
    assert float(evidence.case.tensors[0].reshape(-1)[0]) > 40
    assert np.isnan(evidence.actual[0]).all()
    files = {p.name for p in (tmp_path / "findings" / record.id).iterdir()}
    assert {"case.safetensors", "finding.json"} <= files
    assert any(name.startswith("test_") for name in files)


def test_machine_that_goes_away_is_told_counted_and_no_fault(tanh: SeedSet, tmp_path: Path) -> None:
    summary, seen, heard = campaign(tanh, right, tmp_path, kind=Vanishing)
    assert len(seen) > 60
    assert [type(e) for e in heard if isinstance(e, events.PlatformLost | events.PlatformReturned)] == [
        events.PlatformLost,
        events.PlatformReturned,
    ]
    facts = summary.platforms["candidate"]
    assert 0 < facts.unreached <= 20
    assert facts.trials > 40
    assert summary.findings == ()


def test_running_again_adds_and_finds_nothing_new(tanh: SeedSet, tmp_path: Path) -> None:
    first, _, _ = campaign(tanh, overflowing, tmp_path)
    again, _, _ = campaign(tanh, overflowing, tmp_path)
    known = {f.id for f in first.findings}
    assert known & {f.id for f in again.findings}
    assert not any(f.new for f in again.findings if f.id in known)
    assert known <= {r.id for r in FindingStore.open(tmp_path).all()}


def test_same_seed_and_trials_give_the_same_cases(tanh: SeedSet, tmp_path: Path) -> None:
    runs = [
        campaign(tanh, right, tmp_path / str(i), seed=s, workers=w)[1]
        for i, (s, w) in enumerate([(1, 1), (1, 2), (2, 1)])
    ]
    # As sets: which passing case is run twice depends on the worker.
    assert set(runs[0]) == set(runs[1])
    assert set(runs[0]) != set(runs[2])


def test_stopping_keeps_what_was_found_and_still_reports(tanh: SeedSet, tmp_path: Path) -> None:
    summary, seen, heard = campaign(tanh, overflowing, tmp_path, budget="60s", stop_after=40)
    assert len(seen) < 80
    assert isinstance(heard[-1], events.CampaignFinished)
    assert len(FindingStore.open(tmp_path).all()) == len(summary.findings)


def test_broken_machinery_is_raised_after_the_summary(tanh: SeedSet, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    def runner() -> DifferentialRunner:
        raise Broken

    heard: list[events.Event] = []
    run = Campaign(
        {tanh.operator.key: tanh},
        Lineup("torch-cpu", {}, runner),
        FindingStore(tmp_path),
        CampaignOptions(Budget.parse("10trials")),
        listener=heard.append,
        writer=reproducers,
    )
    with pytest.raises(Broken):
        run.run()
    assert isinstance(heard[-1], events.CampaignFinished)


def test_a_finding_whose_reduction_was_cut_short_is_reduced_later(tanh: SeedSet, tmp_path: Path) -> None:
    first, _, _ = campaign(tanh, overflowing, tmp_path)
    store = FindingStore.open(tmp_path)
    record = store.get(first.findings[0].id)
    cut_short = replace(record, reduced=False, elements=999)
    store.put(cut_short, store.evidence(record.id), 1, {})
    again, _, _ = campaign(tanh, overflowing, tmp_path)
    mended = store.get(record.id)
    assert mended.reduced
    assert mended.elements < 999
    assert record.id not in {f.id for f in again.findings if f.new}


def test_an_unreadable_row_does_not_end_a_campaign(tanh: SeedSet, tmp_path: Path) -> None:
    first, _, _ = campaign(tanh, overflowing, tmp_path)
    with sqlite3.connect(tmp_path / "findings.sqlite") as database:
        database.execute("UPDATE findings SET record = '{'")
    again, _, _ = campaign(tanh, overflowing, tmp_path)
    assert {f.id for f in first.findings} & {f.id for f in again.findings}


class Refusing(Recording):
    """Like a platform that has none of the operators."""

    def run(self, case: Case) -> RunOutcome:
        super().run(case)
        return Unsupported("no kernel\nfor \x1b[2Jthis")


class Away(Recording):
    """Like a platform on a machine that does not answer."""

    def run(self, case: Case) -> RunOutcome:
        return Unreachable("nothing answers")


def test_refusals_are_counted_and_say_why_nothing_ran(tanh: SeedSet, tmp_path: Path) -> None:
    summary, seen, _ = campaign(tanh, right, tmp_path, budget="6trials", kind=Refusing)
    facts = summary.platforms["candidate"]
    assert (facts.refused, facts.unreached) == (len(seen), 0)
    why, hint = why_nothing_ran(summary, Budget.parse("6trials"))
    assert why == f"candidate refuses {len(seen)} of {len(seen)} cases: no kernel for \N{REPLACEMENT CHARACTER}[2Jthis"
    assert hint == "choose others with --operator or --platform"


def test_a_machine_that_never_answers_is_why_nothing_ran(tanh: SeedSet, tmp_path: Path) -> None:
    summary, _, _ = campaign(tanh, right, tmp_path, budget="6trials", kind=Away)
    why, _ = why_nothing_ran(summary, Budget.parse("6trials"))
    assert why == f"candidate did not answer for {summary.cases} of {summary.cases} cases: nothing answers"


def test_a_budget_that_ends_first_is_why_nothing_ran(tanh: SeedSet, tmp_path: Path) -> None:
    summary, seen, _ = campaign(tanh, right, tmp_path, budget="0.0000001s")
    assert seen == []
    why, hint = why_nothing_ran(summary, Budget.parse("0.0000001s"))
    assert why == "the budget of 0.0000001s ended before the first case was ready"
    assert hint == "give a longer --budget"


def test_a_trial_or_a_finding_is_something(tanh: SeedSet, tmp_path: Path) -> None:
    budget = Budget.parse("6trials")
    summary, _, _ = campaign(tanh, right, tmp_path, budget="6trials")
    assert summary.trials > 0
    assert why_nothing_ran(summary, budget) == ("", "")
    # A reference platform in doubt on every case is a finding without a trial of any candidate.
    assert why_nothing_ran(replace(summary, trials=0, findings=(entry(kind="reference-suspect"),)), budget) == ("", "")
    assert why_nothing_ran(replace(summary, trials=0, findings=()), budget) != ("", "")
