"""Candidates and operators that once misled the fuzzer; none may cost more than itself."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz import check
from tapml_fuzz.core.errors import BadInputs, BadOption

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def test_two_lambdas_are_two_operators() -> None:
    first = check(lambda x: x.exp(), torch.exp, inputs=[(X,)], budget="30trials")
    second = check(lambda x: x.topk(2), lambda x: torch.topk(x, 2), inputs=[(X,)], budget="30trials")
    assert first.ok, first
    assert second.ok, second


def test_a_kernel_for_one_dtype_sees_no_other() -> None:
    def half_only(x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float16
        return torch.relu(x)

    report = check("aten.relu.default", half_only, inputs=[(X,)], dtypes=["float16"], budget="60trials")
    assert report.ok, report


def test_another_number_of_outputs_the_second_time_is_nondeterministic() -> None:
    calls = itertools.count()
    report = check(
        "aten.relu.default", lambda x: [torch.relu(x)] * (1 + next(calls) % 2), inputs=[(X,)], budget="40trials"
    )
    assert {f.kind for f in report.findings} <= {"nondeterministic", "shape"}
    assert not report.ok


def _loop(x: torch.Tensor) -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "candidate",
    [
        lambda x: x.to_sparse(),
        lambda x: x.to("meta"),
        _loop,
        lambda x: sys.exit(3),
        lambda x: _raise(KeyboardInterrupt()),
        lambda x: _raise(_Unspeakable()),
        lambda x: "text",
        lambda x: {},
    ],
    ids=["sparse", "meta", "recursive", "exit", "interrupt", "unspeakable", "text", "dict"],
)
def test_whatever_it_does_is_a_run_error(candidate: Callable[..., Any]) -> None:
    report = check("aten.relu.default", candidate, inputs=[(X,)], budget="6trials", timeout=5.0)
    assert [f.kind for f in report.findings] == ["run-error"], report
    assert "\n" not in report.findings[0].message


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"seed": -1}, BadOption),
        ({"timeout": 0}, BadOption),
        ({"arrays": "jax"}, BadOption),
        ({"budget": 10}, BadOption),
        ({"inputs": [(3,)]}, BadInputs),
        ({"inputs": [(X.to(torch.complex64),)]}, BadInputs),
    ],
)
def test_bad_options_are_said_in_one_line(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        check("aten.abs.default", torch.abs, **{"inputs": [(X,)], "budget": "5trials", **options})
    assert "\n" not in str(raised.value)


def test_nothing_tried_is_not_ok() -> None:
    report = check("aten.relu.default", torch.relu, inputs=[(np.ones((2, 2), np.float32),)], budget="0.000001s")
    assert report.trials > 0 or not report.ok
