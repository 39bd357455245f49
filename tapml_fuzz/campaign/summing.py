"""The summary of a campaign, and why one says nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

import msgspec

from tapml_fuzz.campaign.lineup import Lineup
from tapml_fuzz.campaign.tally import Tally
from tapml_fuzz.core.summary import (
    FindingEntry,
    OperatorSummary,
    PairSummary,
    PlatformSummary,
    RunSummary,
    TimeSummary,
)
from tapml_fuzz.core.text import printable
from tapml_fuzz.core.version import __version__
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.storage.findings import FindingRecord

# Characters of a platform's reason that fit a line with those of others.
_REASON = 200


def summary(
    tally: Tally,
    lineup: Lineup,
    operators: Mapping[str, str],
    findings: Sequence[FindingRecord],
    *,
    new: Collection[str],
    budget: Budget,
    seed: int,
    interrupted: bool,
) -> RunSummary:
    """The summary of a run.

    `operators` are their texts by key, `findings` those met in this run; `new` has the ids of those that the output
    directory did not know.
    """
    per_operator = {
        key: OperatorSummary(
            operator=text,
            trials=tally.by_operator[key],
            findings=sum(f.operator_key == key for f in findings),
            platforms={name: _pair(tally, name, key, findings) for name in lineup.candidates},
        )
        for key, text in operators.items()
    }
    return RunSummary(
        version=__version__,
        seed=seed,
        budget=budget.text,
        reference=lineup.reference,
        interrupted=interrupted,
        elapsed_s=round(budget.elapsed, 3),
        trials=tally.trials,
        cases=tally.cases,
        elements=tally.elements,
        builds=sum(tally.builds.values()),
        time_s=TimeSummary(**{name: max(0.0, round(seconds, 3)) for name, seconds in asdict(tally.times).items()}),
        platforms={name: _platform(tally, lineup, name, findings) for name in lineup.infos},
        operators=per_operator,
        unjudged=dict(sorted(tally.unjudged.items())),
        findings=tuple(_entry(record, record.id in new) for record in findings),
    )


def _platform(tally: Tally, lineup: Lineup, name: str, findings: Sequence[FindingRecord]) -> PlatformSummary:
    info = lineup.infos[name]
    return PlatformSummary(
        trials=tally.by_platform[name],
        findings=sum(f.platform == name for f in findings),
        builds=tally.builds[name],
        unreached=tally.unreached[name],
        refused=tally.refused[name],
        refusal=tally.refusals.get(name, ""),
        device=info.device,
        versions=info.versions,
        reference=name == lineup.reference,
    )


def _pair(tally: Tally, platform: str, key: str, findings: Sequence[FindingRecord]) -> PairSummary:
    return PairSummary(
        trials=tally.by_pair[platform, key],
        worst_passing_ratio=tally.worst.get((platform, key), 0.0),
        findings=sum(f.operator_key == key and f.platform == platform for f in findings),
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
