"""A failure on its way out of the engine, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.strategies import Recipe, SeedSet


@dataclass(frozen=True)
class Failure:
    """One failure: where it was met first, and on the smallest case so far.

    Attributes:
        fingerprint: as the sink gave it; equal for failures that are one finding.
        found: the result on the case as it was found.
        best: the result on the smallest case (at first the same).
        recipe: the recipe that made the case; None for a recorded one.
        reproducer: the platform's part of a standalone reproducer, if it has one.
        seconds: seconds that reduction took.
    """

    fingerprint: str
    found: Result
    best: Result
    seed_set: SeedSet
    recipe: Recipe | None = None
    reproducer: Reproducer | None = None
    seconds: float = 0.0


class FailureSink(Protocol):
    """The one door by which results leave the engine: a store on disk, or lists in memory."""

    def tried(self, trial: Trial) -> None:
        """Take note of a case that was run to find something (not to reduce it)."""

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        """The fingerprint of the finding that a result belongs to; None when nothing is wrong."""

    def claim(self, fingerprint: str) -> bool:
        """True for whoever meets a failure of this fingerprint first: it is theirs to reduce."""

    def found(self, failure: Failure) -> None:
        """Take a new failure, before reduction."""

    def reduced(self, failure: Failure) -> None:
        """Take the same failure on the smallest case found."""
