"""Which platforms the conformance kit ran on, and which it did not and why: a table at the end of a test run.

A pytest plugin, loaded by `tests/conftest.py`. Every test of the kit carries the name of its platform as a property of
its reports, which also reach the process that writes the summary when the tests run in others (pytest-xdist).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from _pytest.terminal import TerminalReporter

_PROPERTY = "conformance"
# What a report of the terminal's counts as, by the name under which the terminal keeps it.
_COUNTED = ("passed", "failed", "error", "skipped")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test of the kit with its platform: the parameter of the fixture `session`."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if item.path.parent.name == "conformance" and isinstance(parameters.get("session"), str):
        item.user_properties.append((_PROPERTY, parameters["session"]))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the table, if the kit was part of the run."""
    from tapml_fuzz.platforms.registry import known

    lines = table({kind: terminalreporter.stats.get(kind, []) for kind in _COUNTED}, known())
    if lines:
        terminalreporter.section("platforms")
        for line in lines:
            terminalreporter.write_line(line)


def table(reports: Mapping[str, Iterable[pytest.TestReport]], known: Iterable[str]) -> list[str]:
    """A line for every platform of `known` and every other that the kit ran on; none where it ran on none.

    `reports` are those of the run, by what became of the test.
    """
    counts: dict[str, Counter[str]] = {}
    reasons: dict[str, str] = {}
    for kind, some in reports.items():
        for report in some:
            name = dict(report.user_properties).get(_PROPERTY)
            if name is not None:
                counts.setdefault(str(name), Counter())[kind] += 1
                if kind == "skipped":
                    reasons[str(name)] = _reason(report).removeprefix(f"{name}: ")
    if not counts:
        return []
    names = [*known, *sorted(counts.keys() - set(known))]
    width = max(map(len, names))
    return [f"{name:<{width}}  {_outcome(counts.get(name, Counter()), reasons.get(name, ''))}" for name in names]


def _outcome(counts: Counter[str], reason: str) -> str:
    ran, wrong = counts["passed"] + counts["failed"], counts["failed"] + counts["error"]
    if wrong:
        return f"FAILED {wrong} of {ran + counts['error']} checks"
    if ran:
        return f"ran {ran} check{'s' if ran > 1 else ''}"
    return f"did not run: {reason}" if counts["skipped"] else "not asked for"


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped; pytest gives file, line and reason."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())
