"""The part of a session that the engine uses, whether a worker, this process or a user's callable is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import RunOutcome
from tapml_fuzz.platforms.base import Info, Reproducer


class CaseSession(Protocol):
    """A platform ready to run cases; see `platforms.session.session.Session` for what each method promises.

    Attributes:
        name: the platform's name.
        builds: builds made so far.
        build_seconds: seconds they took.
    """

    name: str
    builds: int
    build_seconds: float

    def info(self) -> Info:
        """The platform's own account of itself."""

    def run(self, case: Case) -> RunOutcome:
        """The outcome of one case, which is built first when needed."""

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]:
        """The outcomes of `run` on each case, in order."""

    def reproducer(self, case: Case) -> Reproducer | None:
        """The platform's part of a standalone reproducer; None where it has none."""

    def close(self) -> None:
        """Stop the platform."""
