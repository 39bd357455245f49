"""A trial: one case on the reference platform and on the candidates, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import RunOutcome
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.oracle import Truth


@dataclass(frozen=True)
class Result:
    """One platform's part of a trial."""

    platform: str
    case: Case
    verdict: Verdict
    outcome: RunOutcome
    truth: Truth

    @property
    def bounds(self) -> tuple[Array | None, ...]:
        """The truth's error bounds; infinite for outputs of which several are right: indices, and any order."""
        outputs = zip(self.truth.values, self.truth.bounds, self.truth.several, strict=True)
        return tuple(np.full(value.shape, np.inf) if several else bound for value, bound, several in outputs)


@dataclass(frozen=True)
class Trial:
    """All that came of running one case.

    Attributes:
        results: one per candidate that could run the case, before them the reference platform's where it is in doubt
            (or alone was asked for). Empty where the reference platform rejects the case, which makes it no case.
        refused: platform -> why it could not run the case; the reference platform's name where it made it no case.
        missed: those of `refused` whose machine did not answer.
    """

    case: Case
    results: tuple[Result, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    missed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        assert self.missed <= self.refused.keys(), "whoever did not answer has a reason"
