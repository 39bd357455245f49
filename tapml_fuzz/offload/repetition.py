"""Units that are wrong at some of their runs only: a race, memory that is read before it is written.

Such a unit may be right alone and in its first run in the model, move, and break the model when another one moves. So
each runs again and again before it moves, and so do those that have moved when a failure does not hang on the last
move.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import numpy as np

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.judge import judge
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid
from tapml_fuzz.offload.recording import Recording, Step, calls_of
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.tolerance import truth_of

# Runs of one unit, over all its calls: a fault of every tenth run stays unseen in one unit of thirty. Large calls get
# fewer, so that a walk does not take much longer for it.
RUNS = 32
_SECONDS = 1.0


def unsteady(subject: Subject, hybrid: Hybrid, key: str, platform: str) -> str:
    """Why a unit is wrong at some of its runs on a platform, from the source run's values; empty when none was.

    Runs that give the same bits are one: whether those are right, validation has said.
    """
    calls = calls_of(subject.recordings, key)[:RUNS]
    until = time.monotonic() + _SECONDS
    for recording, step in calls:
        seen: list[Sequence[Array]] = []
        try:
            for outputs in islice(hybrid.again(recording, step, platform), -(-RUNS // len(calls))):
                if not any(_same(outputs, other) for other in seen):
                    seen.append(outputs)
                if time.monotonic() > until:
                    break
        except CannotRun as error:
            if seen:  # it ran before
                return f"it does not run every time: {error.reason}"
        if len(seen) > 1 and (told := _wrong(subject, recording, step, seen)):
            return told
    return ""


def _wrong(subject: Subject, recording: Recording, step: Step, seen: Sequence[Sequence[Array]]) -> str:
    """What is wrong with one of the different outputs of a call; empty when all are right, or nobody can tell."""
    expected = truth_of(recording, step, subject.policy)
    if expected is None:
        return ""
    case = recording.case(step)
    verdicts = [judge(case, Ok(tuple(outputs)), expected, policy=subject.policy) for outputs in seen]
    wrong = [verdict for verdict in verdicts if verdict.failed]
    if not wrong:
        return ""
    return f"runs of {step.name} on the same values differ, and not all are right: {wrong[0].kind}, {wrong[0].message}"


def _same(some: Sequence[Array], others: Sequence[Array]) -> bool:
    return all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(some, others, strict=True)
    )
