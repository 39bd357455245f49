"""Cases that are known before any is judged, run ahead in windows: fewer messages, and no wait between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Crash, RunOutcome, Timeout
from tapml_fuzz.engine.case_session import CaseSession

WINDOW = 16  # cases
_ELEMENTS = 1 << 19  # of a window's inputs; with outputs, truth and bounds some fifty bytes each
# A window ends before the clock is looked at again, or a Ctrl-C.
_SECONDS = 0.5

_Tag = TypeVar("_Tag")


class WindowLimit:
    """The number of cases that make a window: as many as ran in half a second, by the last window; one at first.

    Attributes:
        cases: the number at present, at most `WINDOW`.
    """

    def __init__(self) -> None:
        self.cases = 1

    def took(self, cases: int, seconds: float) -> None:
        """Take note that so many cases took so many seconds."""
        self.cases = max(1, min(WINDOW, int(_SECONDS * cases / max(seconds, 1e-6))))


def windows(cases: Iterable[tuple[Case, _Tag]], limit: Callable[[], int]) -> Iterator[list[tuple[Case, _Tag]]]:
    """Cut into lists of at most `limit` cases that fit into memory together; no case is made before its window."""
    window: list[tuple[Case, _Tag]] = []
    elements = 0
    for case, tag in cases:
        if window and elements + case.elements > _ELEMENTS:
            yield window
            window, elements = [], 0
        window.append((case, tag))
        elements += case.elements
        if len(window) >= limit():
            yield window
            window, elements = [], 0
    if window:
        yield window


def prefetch(session: CaseSession, cases: Sequence[Case]) -> list[RunOutcome]:
    """Outcomes in order, up to the first hang or crash: whoever waits for them may have no time for another."""
    outcomes: list[RunOutcome] = []
    for outcome in session.run_many(cases):
        outcomes.append(outcome)
        if isinstance(outcome, Crash | Timeout):
            break
    return outcomes
