"""Units that are wrong at some of their runs only: a race, memory that is read before it is written.

Such a unit may be right alone and in its first run in the model, move, and break the model when another one moves. So
each runs again and again before it moves, and so do those that have moved when a failure does not hang on the last
move.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok, RunError
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge_differing, judge_not_repeated, same_outputs
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid
from tapml_fuzz.offload.recording import RecordedStep, Recording, calls_of
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.tolerance import truth_of
from tapml_fuzz.oracle import Truth

# Runs of one unit, over all its calls: a fault of every tenth run stays unseen in one unit of thirty. Large calls get
# fewer, so that a walk does not take much longer for it.
RUNS = 32
_SECONDS = 1.0


@dataclass(frozen=True)
class FlakyRun:
    """One call of a unit, of whose runs one was wrong; `outcome` is that one's. No `truth`: the oracle has none."""

    reason: str
    case: Case
    outcome: Ok[Array] | RunError
    truth: Truth | None
    verdict: Verdict


def unsteady(subject: Subject, hybrid: Hybrid, key: str, platform: str) -> FlakyRun | None:
    """The wrong run, where a unit is wrong at some runs on a platform, on the reference run's values; None where not.

    Runs that give the same bits are one: whether those are right, validation has said.
    """
    calls = calls_of(subject.recordings, key)[:RUNS]
    until = time.monotonic() + _SECONDS
    for recording, step in calls:
        seen: list[Sequence[Array]] = []
        try:
            for outputs in islice(hybrid.again(recording, step, platform), -(-RUNS // len(calls))):
                if not any(same_outputs(outputs, other) for other in seen):
                    seen.append(outputs)
                if time.monotonic() > until:
                    break
        except CannotRun as error:
            if seen:  # it ran before
                verdict = judge_not_repeated(error.reason)
                truth = truth_of(recording, step, subject.policy)
                return FlakyRun(verdict.message, recording.case(step), RunError(error.reason), truth, verdict)
        if len(seen) > 1 and (flaky := _wrong(subject, recording, step, seen)):
            return flaky
    return None


def _wrong(
    subject: Subject, recording: Recording, step: RecordedStep, seen: Sequence[Sequence[Array]]
) -> FlakyRun | None:
    """The first of the different outputs of a call that is wrong; None when all are right, or nobody can tell."""
    expected = truth_of(recording, step, subject.policy)
    if expected is None:
        return None
    case = recording.case(step)
    wrong = judge_differing(case, [Ok(tuple(outputs)) for outputs in seen], expected, policy=subject.policy)
    if wrong is None:
        return None
    outcome, verdict = wrong
    return FlakyRun(f"{step.name}: {verdict.message}", case, outcome, expected, verdict)
