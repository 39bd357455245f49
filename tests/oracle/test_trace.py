"""Callables and operators without a rule: followed call by call, decomposed, or perturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle import NoTruth, truth
from tests.oracle.catalogue import operator_of
from tests.oracle.support import run_torch, truth_of, verdict_on

RNG = np.random.default_rng(7)
X = RNG.standard_normal((6, 40)).astype(np.float32)


def _judged(function: Callable[..., Any], *args: Any) -> Verdict:
    """The verdict on the callable's own float32 run."""
    name = f"python:test.{function.__name__}"
    invoke.register(name, function)
    operator, tensors = operator_of(name, list(args), {})
    outputs = invoke.call(operator, [invoke.to_torch(t) for t in tensors], {})
    found = truth(operator, tensors, {})
    for value, output in zip(found.values, outputs, strict=True):
        np.testing.assert_allclose(value, output.double().numpy(), rtol=1e-2, atol=1e-3)
    return judge(Case(operator, {}, tensors), Ok(tuple(invoke.to_numpy(o) for o in outputs)), found)


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight


def rotary(x: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(x.shape[0], dtype=torch.float32)
    frequencies = 1.0 / 10000 ** (torch.arange(0, x.shape[1], 2).float() / x.shape[1])
    angles = torch.outer(positions, frequencies)
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()], -1)


def writes_in_place(x: torch.Tensor) -> torch.Tensor:
    result = torch.zeros_like(x)
    result[:, ::2] = x[:, ::2].exp()
    result[:, 1::2] += x[:, 1::2] * 3
    return result


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.clamp(torch.round(x / scale), -128, 127).to(torch.int8), scale


def branches(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(-1) if x.sum().item() > -1e9 else x


def through_layers(x: torch.Tensor) -> torch.Tensor:
    hidden = torch.nn.functional.layer_norm(x, x.shape[-1:])
    return torch.nn.functional.gelu(hidden @ hidden.T).std(-1)


@pytest.mark.parametrize("function", [rotary, writes_in_place, quantised, branches, through_layers])
def test_a_callable_agrees_with_its_own_run(function: Callable[..., Any]) -> None:
    verdict = _judged(function, X)
    assert verdict.kind is None, verdict.message


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rms_norm_as_people_write_it(dtype: str) -> None:
    assert _judged(rms_norm, X.astype(dtype), np.ones(40, dtype)).kind is None


def test_a_wrong_callable_is_caught() -> None:
    operator, tensors = operator_of("python:test.rms_norm", [X, np.ones(40, np.float32)], {})
    invoke.register(operator.name, rms_norm)
    found = truth(operator, tensors, {})
    wrong = X / np.sqrt(np.square(X).sum(-1, keepdims=True) / 39 + np.float32(1e-6))
    assert judge(Case(operator, {}, tensors), Ok((wrong,)), found).kind == "wrong"


def test_a_rounding_step_may_fall_either_way() -> None:
    """One quantised element at the boundary may differ by a step; two steps are wrong."""
    operator, tensors = operator_of("python:test.quantised", [X], {})
    invoke.register(operator.name, quantised)
    found = truth(operator, tensors, {})
    integers, scale = (invoke.to_numpy(o) for o in invoke.call(operator, [invoke.to_torch(t) for t in tensors], {}))
    moved = integers.copy()
    moved[0, 0] += 2 if moved[0, 0] < 0 else -2
    assert judge(Case(operator, {}, tensors), Ok((moved, scale)), found).kind == "wrong"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("aten.hardswish.default", [X]),
        ("aten.mish.default", [X]),
        ("aten.log_sigmoid_forward.default", [X]),
        ("aten.native_batch_norm.default", [X[:, :, None], None, None, None, None, True, 0.1, 1e-5]),
        ("aten.softmax.int", [X, -1]),
        ("aten.celu.default", [X]),
        ("aten.glu.default", [X]),
        ("aten.cosine_similarity.default", [X, X[::-1].copy()]),
    ],
)
def test_decomposed(name: str, args: list[Any]) -> None:
    assert verdict_on(run_torch(name, args), name, args).kind is None


def test_without_rule_or_decomposition_it_is_perturbed() -> None:
    """lgamma has neither. The estimate admits torch's float32 result and still refuses a wrong one."""
    x = np.abs(X) + 1
    (right,) = run_torch("aten.lgamma.default", [x])
    assert verdict_on(right, "aten.lgamma.default", [x]).kind is None
    assert verdict_on(right + np.float32(1e-4), "aten.lgamma.default", [x]).kind == "wrong"


@pytest.mark.parametrize("name", ["aten.bernoulli.default", "aten.rand_like.default", "aten.empty_like.default"])
def test_no_truth(name: str) -> None:
    with pytest.raises(NoTruth, match=name.removesuffix(".default")):
        truth_of(name, [np.abs(X)])


def test_what_torch_rejects_is_raised() -> None:
    with pytest.raises((RuntimeError, IndexError)):
        truth_of("aten.mm.default", [X, X])
