"""The only place where a verdict is made.

A run is judged strictly first: IEEE arithmetic, careful built-in functions, subnormals kept. Only when that fails
is it judged once more by what the platform's specification allows, and then called `permitted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from torch._ops import OpOverload

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import BuildError, Crash, Ok, RunError, RunOutcome, Timeout, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Kind, Metrics, Verdict
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import Truth
from tapml_fuzz.oracle import truth as compute_truth
from tapml_fuzz.oracle.compare import Difference, arranged, difference, metrics, selection_difference

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
    strict = _judge_outputs(case, actual, truth, reference, STRICT)
    if strict.kind not in ("wrong", "nonfinite") or not _allows(policy):
        return strict
    lenient, loose = truth, policy.assumes_finite and not _all_finite(case)
    if loose or policy.accuracy != truth.accuracy or policy.flushes_subnormals != truth.flush:
        # What depends on an infinity or NaN among the inputs is free, and only that: NaN shows where it reaches.
        tensors = tuple(_unknown(t) for t in case.tensors) if loose else case.tensors
        lenient = compute_truth(
            case.operator, tensors, case.sizes, accuracy=policy.accuracy, flush=policy.flushes_subnormals
        )
    if _judge_outputs(case, actual, lenient, reference, policy).kind is not None:
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
    source = judge(case, as_reference, truth, reference=as_reference)
    if not source.failed:
        return verdict
    if not verdict.failed or _agree(candidate.outputs, as_reference.outputs):
        return msgspec.structs.replace(source, kind="reference-suspect", message=f"the reference: {source.message}")
    return verdict


def _allows(policy: Policy) -> bool:
    return policy.flushes_subnormals or policy.assumes_finite or policy.accuracy != STRICT.accuracy


def _agree(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one output showed, before the worst of them is chosen."""

    output: int
    seen: Difference
    reason: str = ""


def _judge_outputs(case: Case, actual: Ok[Array], truth: Truth, reference: Ok[Array] | None, policy: Policy) -> Verdict:
    form = _form(case, actual, truth, reference)
    if form is not None:
        return form
    if any(truth.unordered):
        outputs = arranged([invoke.to_torch(a) for a in actual.outputs], truth.selections, truth.unordered)
        actual = replace(actual, outputs=tuple(invoke.to_numpy(t) for t in outputs))
    # Which integers depend on a NaN cannot be seen, so a platform that assumes there is none is free in all of them.
    loose = policy.assumes_finite and not _all_finite(case)
    findings = [
        _Finding(i, Difference(0.0))
        if loose and not dtypes.is_float(truth.dtypes[i])
        else _examined(i, actual.outputs[i], truth, policy)
        for i in range(len(truth.values))
    ]
    worst = max(findings, key=lambda f: f.seen.ratio, default=_Finding(0, Difference(0.0)))
    unwritten = _unwritten(actual, worst.seen.ratio > 1.0)
    if unwritten is not None:
        return unwritten
    if worst.seen.ratio <= 1.0:
        return _passed(worst, actual, truth)
    return _failed(worst, actual, truth)


def _examined(output: int, array: Array, truth: Truth, policy: Policy) -> _Finding:
    tensor, value = invoke.to_torch(array), torch.from_numpy(truth.values[output])
    selection = truth.selections[output]
    if selection is not None:
        return _Finding(output, *selection_difference(tensor, value, selection))
    bound = _bound(truth, output)
    seen = difference(tensor, value, bound, truth.dtypes[output], assumes_finite=policy.assumes_finite)
    return _Finding(output, seen)


def _form(case: Case, actual: Ok[Array], truth: Truth, reference: Ok[Array] | None) -> Verdict | None:
    """Everything that can be wrong before a value is looked at."""
    if actual.mutated:
        return Verdict("run-error", f"it changed its input {actual.mutated[0]}")
    if len(actual.outputs) != len(truth.values):
        return Verdict("shape", f"{len(actual.outputs)} outputs, expected {len(truth.values)}")
    for i, (array, shape, dtype) in enumerate(zip(actual.outputs, truth.shapes, truth.dtypes, strict=True)):
        if tuple(array.shape) != shape:
            return Verdict("shape", f"output {i} has shape {tuple(array.shape)}, expected {shape}", output=i)
        if dtypes.name_of(array) not in (dtype, _dtype_on(reference, i)):
            return Verdict("dtype", f"output {i} is {dtypes.name_of(array)}, expected {dtype}", output=i)
    shared = [i for i in actual.aliased if not _may_alias(case, i, reference)]
    if shared:
        return Verdict("run-error", f"output {shared[0]} shares memory with an input", output=shared[0])
    return None


def _dtype_on(reference: Ok[Array] | None, output: int) -> str | None:
    """torch's devices differ in some dtypes (layer_norm's statistics of float16); the reference platform's is right."""
    if reference is None or output >= len(reference.outputs):
        return None
    return dtypes.name_of(reference.outputs[output])


def _may_alias(case: Case, output: int, reference: Ok[Array] | None) -> bool:
    """Whether torch's schema, or the reference's own run, has this output as a view of an input."""
    if reference is not None and output in reference.aliased:
        return True
    function = invoke.resolve(case.operator.name)
    if not isinstance(function, OpOverload):
        return False
    returns = case.operator.used(function._schema.returns)
    return output < len(returns) and returns[output].alias_info is not None


def _unwritten(actual: Ok[Array], values_fail: bool) -> Verdict | None:
    """Poison left in a floating output is proof; in an integer output it may be an answer, if the answers fit."""
    for i, count in enumerate(actual.unwritten):
        if count and (values_fail or dtypes.is_float(dtypes.name_of(actual.outputs[i]))):
            total = actual.outputs[i].size
            return Verdict("unwritten", f"{count} of {total} elements of output {i} were never written", output=i)
    return None


def _unknown(tensor: Array) -> Array:
    """The tensor with NaN for every infinity."""
    if not dtypes.is_float(dtypes.name_of(tensor)):
        return tensor
    return np.where(np.isfinite(tensor), tensor, np.asarray(np.nan, tensor.dtype))


def _all_finite(case: Case) -> bool:
    tensors = (invoke.to_torch(t) for t in case.tensors)
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


def _passed(worst: _Finding, actual: Ok[Array], truth: Truth) -> Verdict:
    output, index = worst.output, worst.seen.index
    message = f"{truth.unjudged} elements unjudged" if truth.unjudged else ""
    if index < 0:
        return Verdict(None, message, Metrics(ratio=worst.seen.ratio), output, index)
    expected, got = _at(truth, output, index), _element(actual.outputs[output], index)
    distance = abs(got - expected) if got - expected == got - expected else 0.0
    return Verdict(None, message, Metrics(worst.seen.ratio, distance), output, index, expected, got)


def _failed(worst: _Finding, actual: Ok[Array], truth: Truth) -> Verdict:
    output, index, dtype = worst.output, worst.seen.index, truth.dtypes[worst.output]
    figures = metrics(
        invoke.to_torch(actual.outputs[output]),
        torch.from_numpy(truth.values[output]),
        _bound(truth, output),
        dtype,
        worst.seen.ratio,
    )
    expected, got = _at(truth, output, index), _element(actual.outputs[output], index)
    kind: Kind = "nonfinite" if worst.seen.classes else "wrong"
    place = f"output {output}, element {index}: {got:.9g}, expected {expected:.9g}"
    if worst.reason:
        return Verdict(kind, f"{place}: {worst.reason}", figures, output, index, expected, got)
    far = "" if worst.seen.classes else _distance(figures, truth.bounds[output] is None)
    return Verdict(kind, place + far, figures, output, index, expected, got)


def _distance(figures: Metrics, exact: bool) -> str:
    return ", must be exact" if exact else f", {figures.ratio:.3g} times the bound"


def _bound(truth: Truth, output: int) -> torch.Tensor | None:
    bound = truth.bounds[output]
    return None if bound is None else torch.from_numpy(bound)


def _at(truth: Truth, output: int, index: int) -> float:
    return float(truth.values[output].reshape(-1)[index])


def _element(array: Array, index: int) -> float:
    return float(array.reshape(-1)[index])


def _line(message: str) -> str:
    """The line that says what went wrong: the first that speaks of an error, else the last, where causes stand."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [line for line in lines if "error:" in line.lower()]
    # naga draws the shader's line in a frame after its message; the source is in the reproducer.
    return (said or lines[-1:] or [""])[0].split("┌")[0].strip()[:300]
