"""Units that are wrong at some of their runs only: a race, memory that is read before it is written.

Such a unit may be right alone and in its first run in the model, move, and break the model when another one moves.
So when a failure does not hang on the last move, the units on the target are run again and again on the source run's
values, until one leaves its bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.judge import judge
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid
from tapml_fuzz.offload.recording import Recording, Step, calls_of
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.tolerance import truth_of

# Runs of one unit, over all its calls: a fault of every tenth run is missed by one unit in thirty.
RUNS = 32


def unsteady(subject: Subject, hybrid: Hybrid, key: str, platform: str) -> str:
    """Why a unit is wrong at some of its runs on a platform; empty when none of `RUNS` was."""
    calls = calls_of(subject.recordings, key)[:RUNS]
    wrong, runs, told = 0, 0, ""
    for recording, step in calls:
        again = _Again(recording, step, subject.policy)
        for _ in range(-(-RUNS // len(calls))):
            runs += 1
            try:
                said = again.wrong(hybrid.alone(recording, step, platform))
            except CannotRun as error:
                said = error.reason
            wrong += bool(said)
            told = told or said
    return f"run again and again, {wrong} of {runs} runs are wrong: {told}" if wrong else ""


class _Again:
    """One call that runs several times; outputs that were judged once are not judged again."""

    def __init__(self, recording: Recording, step: Step, policy: Policy) -> None:
        self._case, self._policy = recording.case(step), policy
        self._expected = truth_of(recording, step, policy)
        self._right: list[Sequence[Array]] = []

    def wrong(self, outputs: Sequence[Array]) -> str:
        """What is wrong with the outputs; empty when nothing is, or when nobody can tell."""
        if self._expected is None or any(_same(outputs, right) for right in self._right):
            return ""
        verdict = judge(self._case, Ok(tuple(outputs)), self._expected, policy=self._policy)
        if verdict.failed:
            return f"{verdict.kind}, {verdict.message}"
        self._right.append(outputs)
        return ""


def _same(some: Sequence[Array], others: Sequence[Array]) -> bool:
    return all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(some, others, strict=True)
    )
