"""The outputs of one run against the truth: their form first, then every value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch._ops import OpOverload

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Kind, Metrics, Verdict
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import Truth
from tapml_fuzz.oracle.difference import Difference, difference, metrics
from tapml_fuzz.oracle.selection import arranged, selection_difference


@dataclass(frozen=True, slots=True)
class _Finding:
    """The difference that one output showed, before the worst of them is chosen."""

    output: int
    seen: Difference
    reason: str = ""


def judge_outputs(case: Case, actual: Ok[Array], truth: Truth, reference: Ok[Array] | None, policy: Policy) -> Verdict:
    """The verdict on outputs by `truth` as it is; `policy` says only what is free where values are not finite."""
    form = _form(case, actual, truth, reference)
    if form is not None:
        return form
    if any(truth.unordered):
        outputs = arranged([invoke.to_torch(a) for a in actual.outputs], truth.selections, truth.unordered)
        actual = actual.with_outputs(tuple(invoke.to_numpy(t) for t in outputs))
    # Which integers depend on a NaN cannot be seen, so a platform that assumes there is none is free in all of them.
    loose = policy.assumes_finite and not all_finite(case)
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


def all_finite(case: Case) -> bool:
    """Tell whether no floating input of the case holds an infinity or NaN."""
    tensors = (invoke.to_torch(t) for t in case.tensors)
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


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
