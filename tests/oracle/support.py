"""Shared by the oracle's tests: judge one call's outputs, given as numpy arrays or torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import Truth, truth
from tests.oracle.catalogue import operator_of

torch.set_num_threads(1)


def as_array(output: Any) -> Array:
    return invoke.to_numpy(output) if isinstance(output, torch.Tensor) else np.asarray(output)


def truth_of(name: str, args: list[Any], kwargs: dict[str, Any] | None = None, **options: Any) -> Truth:
    operator, tensors = operator_of(name, args, kwargs or {})
    return truth(operator, tensors, {}, **options)


def verdict_on(
    outputs: Any, name: str, args: list[Any], kwargs: dict[str, Any] | None = None, policy: Policy | None = None
) -> Verdict:
    """The verdict on `outputs` as the result of the call."""
    operator, tensors = operator_of(name, args, kwargs or {})
    case = Case(operator, {}, tensors)
    listed = outputs if isinstance(outputs, tuple) else (outputs,)
    ok = Ok(tuple(as_array(o) for o in listed))
    return judge(case, ok, truth(operator, tensors, {}), policy=policy or Policy())


def run_torch(name: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> tuple[Array, ...]:
    """torch's own outputs for the call."""
    operator, tensors = operator_of(name, args, kwargs or {})
    results = invoke.call(operator, [invoke.to_torch(t) for t in tensors], {})
    return tuple(invoke.to_numpy(r) for r in results)
