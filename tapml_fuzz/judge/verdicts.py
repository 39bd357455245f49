"""Verdicts: on one run, on a candidate beside a doubtful reference, and on runs that are repeated.

A run is judged strictly first: IEEE arithmetic, careful built-in functions, subnormals kept. Only when that fails
is it judged once more by what the platform's specification allows, and then called `permitted`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import BuildError, Crash, Ok, RunError, RunOutcome, Timeout, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge.outputs import all_finite, judge_outputs
from tapml_fuzz.oracle import Truth
from tapml_fuzz.oracle import truth as compute_truth

STRICT = Policy()


def judge(
    case: Case, actual: RunOutcome, truth: Truth, *, reference: Ok[Array] | None = None, policy: Policy = STRICT
) -> Verdict:
    """The verdict on one run of `case`.

    `truth` is the strict one (`oracle.truth(...)` with its defaults). `reference` is the reference platform's outcome:
    an output may have its dtype instead of the truth's, and share memory with an input where its does. `policy` is
    the candidate platform's. The metrics of a pass hold ratio and `max_abs` only; those of a failure are complete.
    """
    match actual:
        case Unsupported():
            return Verdict(None, actual.reason)
        case BuildError(message=message):
            return Verdict("build-error", _line(message))
        case RunError(message=message):
            return Verdict("run-error", _line(message))
        case Crash(exit_code=code, stderr=stderr):
            return Verdict("crash", f"exit {code}{': ' if stderr else ''}{_line(stderr)}")
        case Timeout(seconds=seconds):
            return Verdict("timeout", f"no answer within {seconds:g} s")
    strict = judge_outputs(case, actual, truth, reference, STRICT)
    if strict.kind not in ("wrong", "nonfinite") or not _allows(policy):
        return strict
    lenient, loose = truth, policy.assumes_finite and not all_finite(case)
    if loose or policy.accuracy != truth.accuracy or policy.flushes_subnormals != truth.flush:
        # What depends on an infinity or NaN among the inputs is free, and only that: NaN shows where it reaches.
        tensors = tuple(_unknown(t) for t in case.tensors) if loose else case.tensors
        lenient = compute_truth(
            case.operator, tensors, case.sizes, accuracy=policy.accuracy, flush=policy.flushes_subnormals
        )
    if judge_outputs(case, actual, lenient, reference, policy).kind is not None:
        return strict
    reason = f"{strict.message}; allowed by {policy.source or policy.accuracy}"
    return msgspec.structs.replace(strict, kind="permitted", message=reason)


def judge_pair(
    case: Case, candidate: RunOutcome, reference: RunOutcome, truth: Truth, policy: Policy = STRICT
) -> Verdict:
    """The candidate's verdict, unless the reference is what is wrong.

    `reference-suspect` when the reference breaks the bound and the candidate keeps it, or when both break it and
    agree with each other bit for bit (the truth, not the candidate, then deserves the doubt).
    """
    as_reference = reference if isinstance(reference, Ok) else None
    verdict = judge(case, candidate, truth, reference=as_reference, policy=policy)
    if as_reference is None or not isinstance(candidate, Ok):
        return verdict
    own = judge(case, as_reference, truth, reference=as_reference)
    if not own.failed:
        return verdict
    if not verdict.failed or _agree(candidate.outputs, as_reference.outputs):
        return msgspec.structs.replace(own, kind="reference-suspect", message=f"the reference: {own.message}")
    return verdict


def judge_reference(case: Case, outcome: RunOutcome, truth: Truth) -> Verdict:
    """The verdict on the reference platform's own run: `reference-suspect` for outputs outside the bound."""
    verdict = judge(case, outcome, truth)
    if not verdict.failed or not isinstance(outcome, Ok):
        return verdict
    return msgspec.structs.replace(verdict, kind="reference-suspect")


def judge_repeated(
    case: Case,
    first: Ok[Array],
    verdict: Verdict,
    again: RunOutcome,
    truth: Truth,
    *,
    reference: Ok[Array] | None = None,
    policy: Policy = STRICT,
) -> Verdict:
    """The verdict on two runs of one case, the first of which has got `verdict`.

    Sums in another order every time (atomic additions) are right as long as both runs are; everything else that
    differs is `nondeterministic`, and a second run that crashes or hangs is judged as such.
    """
    if isinstance(again, Unsupported) or (isinstance(again, Ok) and same_outputs(first.outputs, again.outputs)):
        return verdict
    if verdict.failed:
        return _nondeterministic("two runs of one case differ", verdict) if isinstance(again, Ok) else verdict
    second = judge(case, again, truth, reference=reference, policy=policy)
    if second.failed and isinstance(again, Ok):
        return _nondeterministic("only one of two runs is right", second)
    return second


def judge_differing(
    case: Case, runs: Sequence[Ok[Array]], truth: Truth, *, policy: Policy = STRICT
) -> tuple[Ok[Array], Verdict] | None:
    """The first wrong one of runs of one case that differ, with the verdict on it; None when all are right."""
    for outcome in runs:
        verdict = judge(case, outcome, truth, policy=policy)
        if verdict.failed:
            told = f"runs on the same values differ, and not all are right: {verdict.kind}, {verdict.message}"
            return outcome, msgspec.structs.replace(verdict, kind="nondeterministic", message=told)
    return None


def judge_not_repeated(reason: str) -> Verdict:
    """The verdict on a case that ran once and then did not, for that reason."""
    return Verdict("nondeterministic", f"it does not run every time: {reason}")


def same_outputs(first: Sequence[Array], second: Sequence[Array]) -> bool:
    """Tell whether two runs gave the same shapes, dtypes and values (NaN equals NaN, zeros of both signs are equal)."""
    return len(first) == len(second) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fV")
        for a, b in zip(first, second, strict=True)
    )


def _nondeterministic(message: str, verdict: Verdict) -> Verdict:
    return Verdict("nondeterministic", message, verdict.metrics)


def _allows(policy: Policy) -> bool:
    return policy.flushes_subnormals or policy.assumes_finite or policy.accuracy != STRICT.accuracy


def _agree(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


def _unknown(tensor: Array) -> Array:
    """The tensor with NaN for every infinity."""
    if not dtypes.is_float(dtypes.name_of(tensor)):
        return tensor
    return np.where(np.isfinite(tensor), tensor, np.asarray(np.nan, tensor.dtype))


def _line(message: str) -> str:
    """The line that says what went wrong: the first that speaks of an error, else the last, where causes stand."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [line for line in lines if "error:" in line.lower()]
    # naga draws the shader's line in a frame after its message; the source is in the reproducer.
    return (said or lines[-1:] or [""])[0].split("┌")[0].strip()[:300]
