"""Counting what a campaign did, and the summary that is made of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from tapml_fuzz.core.summary import (
    FindingEntry,
    OperatorSummary,
    PairSummary,
    PlatformSummary,
    RunSummary,
    TimeSummary,
)
from tapml_fuzz.core.text import printable
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.stopwatch import Times
from tapml_fuzz.engine.trial import Trial
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.storage.findings import FindingRecord

# Characters of a platform's reason that fit a line with those of others.
_REASON = 200


@dataclass
class Tally:
    """Counters shared by all workers of a campaign.

    Attributes:
        unreached: cases while a platform did not answer.
        refused: cases that a platform could not run, those included; `refusals` has the first reason.
        unjudged: why the oracle could not tell what is right, by the operator's key.
    """

    trials: int = 0
    elements: int = 0
    cases: int = 0
    by_platform: Counter[str] = field(default_factory=Counter)
    by_operator: Counter[str] = field(default_factory=Counter)
    by_pair: Counter[tuple[str, str]] = field(default_factory=Counter)
    unreached: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, str] = field(default_factory=dict)
    worst: dict[tuple[str, str], float] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, key: str, trial: Trial, reference: str) -> None:
        """Count one case of the operator `key`: a trial per candidate that could run it."""
        with self._lock:
            self.cases += 1
            for name in trial.missed:
                self.unreached[name] += 1
            for name, reason in trial.refused.items():
                self.refused[name] += 1
                self.refusals.setdefault(name, reason)
            for result in trial.results:
                if result.platform == reference:
                    continue
                self.trials += 1
                self.elements += result.case.elements
                self.by_platform[result.platform] += 1
                self.by_operator[key] += 1
                pair = (result.platform, key)
                self.by_pair[pair] += 1
                if result.verdict.kind is None:
                    self.worst[pair] = max(self.worst.get(pair, 0.0), result.verdict.metrics.ratio)

    def leave(self, key: str, reason: str) -> bool:
        """Note that an operator cannot be judged; False where that is known."""
        with self._lock:
            if key in self.unjudged:
                return False
            self.unjudged[key] = reason
            return True


def summary(
    *,
    version: str,
    seed: int,
    budget: str,
    reference: str,
    elapsed: float,
    tally: Tally,
    times: Times,
    builds: Mapping[str, int],
    operators: Mapping[str, str],
    platforms: Mapping[str, Info],
    findings: Sequence[FindingRecord],
    new: Collection[str],
    interrupted: bool,
) -> RunSummary:
    """The summary of a run.

    `elapsed` is in seconds, `builds` counts by platform, `operators` are their texts by key, `findings` those met in
    this run; `new` has the ids of those that the output directory did not know.
    """
    per_platform = {
        name: PlatformSummary(
            trials=tally.by_platform[name],
            findings=sum(f.platform == name for f in findings),
            builds=builds.get(name, 0),
            unreached=tally.unreached[name],
            refused=tally.refused[name],
            refusal=tally.refusals.get(name, ""),
            device=info.device,
            versions=info.versions,
            reference=name == reference,
        )
        for name, info in platforms.items()
    }
    per_operator = {
        key: OperatorSummary(
            operator=text,
            trials=tally.by_operator[key],
            findings=sum(f.operator_key == key for f in findings),
            platforms={
                name: PairSummary(
                    trials=tally.by_pair[name, key],
                    worst_passing_ratio=tally.worst.get((name, key), 0.0),
                    findings=sum(f.operator_key == key and f.platform == name for f in findings),
                )
                for name in platforms
                if name != reference
            },
        )
        for key, text in operators.items()
    }
    return RunSummary(
        version=version,
        seed=seed,
        budget=budget,
        reference=reference,
        interrupted=interrupted,
        elapsed_s=round(elapsed, 3),
        trials=tally.trials,
        cases=tally.cases,
        elements=tally.elements,
        builds=sum(builds.values()),
        time_s=TimeSummary(**{name: round(seconds, 3) for name, seconds in asdict(times).items()}),
        platforms=per_platform,
        operators=per_operator,
        unjudged=dict(sorted(tally.unjudged.items())),
        findings=tuple(_entry(record, record.id in new) for record in findings),
    )


def _entry(record: FindingRecord, new: bool) -> FindingEntry:
    return FindingEntry(**msgspec.structs.asdict(record), new=new)


def why_nothing_ran(summary: RunSummary, budget: Budget) -> tuple[str, str]:
    """Why a run cannot say anything about any platform, and the hint; both empty when it can.

    It can when there was a trial, or a finding: a reference platform in doubt is one without a trial.
    """
    if summary.trials or summary.findings:
        return "", ""
    if summary.unjudged and len(summary.unjudged) == len(summary.operators):
        reason = next(iter(summary.unjudged.values()))
        return f"no operator could be judged: {printable(reason)[:_REASON]}", "choose other operators with --operator"
    longer = "give a longer --budget"
    if not summary.cases:
        if budget.seconds is not None:
            return f"the budget of {budget.text} ended before the first case was ready", longer
        return "no case could be made from what was recorded", "choose other operators with --operator"
    reasons = []
    for name, platform in summary.platforms.items():
        if platform.refused:
            how = "did not answer for" if platform.refused == platform.unreached else "refuses"
            reason = " ".join(printable(platform.refusal).split())[:_REASON]
            reasons.append(f"{name} {how} {platform.refused} of {summary.cases} cases: {reason}")
    hint = "choose others with --operator or --platform"
    return "; ".join(reasons), f"{hint}, or {longer}" if budget.seconds is not None else hint
