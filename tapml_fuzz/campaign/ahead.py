"""Cases that are known before any is judged, run ahead in windows: fewer messages, and no wait between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Crash, RunOutcome, Timeout

WINDOW = 16  # cases
_ELEMENTS = 1 << 19  # of a window's inputs; outputs, truth and bounds are some ten times that in bytes

_Tag = TypeVar("_Tag")


class Runs(Protocol):
    """What runs cases: a session."""

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]: ...


def windows(cases: Iterable[tuple[Case, _Tag]], limit: int) -> Iterator[list[tuple[Case, _Tag]]]:
    """Cut into lists of at most `limit` cases that fit into memory together; no case is made before its window."""
    window: list[tuple[Case, _Tag]] = []
    elements = 0
    for case, tag in cases:
        if window and elements + case.elements > _ELEMENTS:
            yield window
            window, elements = [], 0
        window.append((case, tag))
        elements += case.elements
        if len(window) >= limit:
            yield window
            window, elements = [], 0
    if window:
        yield window


def run_ahead(session: Runs, cases: Sequence[Case]) -> list[RunOutcome]:
    """Outcomes in order, up to the first hang or crash: whoever waits for them may have no time for another."""
    outcomes: list[RunOutcome] = []
    for outcome in session.run_many(cases):
        outcomes.append(outcome)
        if isinstance(outcome, Crash | Timeout):
            break
    return outcomes
