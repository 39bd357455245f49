"""Which operators of a campaign were wrong on which platforms, as a Markdown table.

    python -m benchmarks.matrix benchmarks/results/run-h100-490s.json

A cell has the trials, and after them the findings and, in brackets, how many more the platform's specification permits.
Operators of one name share a row, whatever their signatures.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.reporting.formats.json import run_summary


def matrix(summary: RunSummary) -> str:
    """The table of a run's summary."""
    names = [name for name, platform in summary.platforms.items() if not platform.reference]
    trials: dict[str, Counter[str]] = defaultdict(Counter)
    for operator in summary.operators.values():
        for platform, pair in operator.platforms.items():
            trials[_short(operator.operator)][platform] += pair.trials
    wrong, permitted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for finding in summary.findings:
        counted = permitted if finding.kind == "permitted" else wrong
        counted[_short(finding.operator), finding.platform] += 1

    def cell(operator: str, platform: str) -> str:
        ran, bad, allowed = trials[operator][platform], wrong[operator, platform], permitted[operator, platform]
        if not ran and not bad:
            return ""
        return f"{ran:,}" + (f" **{bad}**" if bad else "") + (f" ({allowed})" if allowed else "")

    rows = [["operator", *names], ["---"] * (1 + len(names))]
    rows += [[operator, *(cell(operator, name) for name in names)] for operator in sorted(trials)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _short(operator: str) -> str:
    return operator.partition("(")[0].removeprefix("aten.").rpartition(".")[0]


if __name__ == "__main__":
    print(matrix(run_summary(Path(sys.argv[1]).read_bytes())))
