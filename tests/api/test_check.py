"""The public API: planted faults are caught, their correct twins pass, bad candidates cost nothing but themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz import Report, check
from tapml_fuzz.core.errors import BadInputs, BadOption, UnknownOperator
from tapml_fuzz.core.verdict import KINDS, REALISMS
from tests.api.candidates import PLANTED, Planted, softmax_plain, tanh_overflowing

RANDOM = [(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)),)]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_planted_fault_is_caught_and_small(planted: Planted) -> None:
    report = check(planted.operator, planted.faulty, budget="200trials", **planted.options)
    assert not report.ok, report
    finding = report.findings[0]
    assert finding.kind in KINDS
    assert finding.realism in REALISMS
    assert finding.elements <= finding.found_elements
    assert finding.kind in repr(report)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: p.name)
def test_correct_twin_passes(planted: Planted) -> None:
    report = check(planted.operator, planted.correct, budget="150trials", seed=3, **planted.options)
    assert report.ok, report
    assert report.trials >= 100


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """A half precision kernel as it should be: computed in float32, rounded once at the end."""

    def half(*args: Any) -> Any:
        dtype = next(a.dtype for a in args if torch.is_tensor(a) and a.is_floating_point())
        wide = [a.float() if torch.is_tensor(a) and a.is_floating_point() else a for a in args]
        return function(*wide).to(dtype)

    return half


@pytest.mark.parametrize("planted", [p for p in PLANTED if "arrays" not in p.options], ids=lambda p: p.name)
def test_correct_twin_passes_in_half_precision(planted: Planted) -> None:
    dtypes = ("float16", "bfloat16")
    candidate = in_single(planted.correct)
    report = check(planted.operator, candidate, budget="100trials", seed=3, dtypes=dtypes, **planted.options)
    assert report.ok, report
    assert report.trials >= 70


def test_same_seed_same_report() -> None:
    def run() -> Report:
        return check("aten.tanh.default", tanh_overflowing, budget="120trials", seed=11)

    first, second = run(), run()
    assert [f.inputs[0].tobytes() for f in first.findings] == [f.inputs[0].tobytes() for f in second.findings]
    assert first.trials == second.trials


def test_raising_candidate_is_a_run_error() -> None:
    def raises(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel for this shape")

    (finding,) = check("aten.relu.default", raises, inputs=RANDOM, budget="20trials").findings[:1]
    assert finding.kind == "run-error"
    assert "no kernel for this shape" in finding.message


@pytest.mark.parametrize(
    ("candidate", "kind", "text"),
    [
        (lambda x: torch.relu(x)[:1], "shape", "shape"),
        (lambda x: torch.relu(x).double(), "dtype", "float64"),
        (lambda x: None, "run-error", "NoneType"),
        (lambda x: x.relu_().clone(), "run-error", "changed its input"),
        (lambda x: x.view_as(x) if (x >= 0).all() else torch.relu(x), "run-error", "shares memory"),
        (lambda x: torch.relu(x) + torch.rand(x.shape) * 1e-30, "nondeterministic", "differ"),
    ],
)
def test_ill_behaved_candidates_become_findings(candidate: object, kind: str, text: str) -> None:
    report = check("aten.relu.default", candidate, inputs=RANDOM, budget="150trials")  # type: ignore[arg-type]
    messages = {f.kind: f.message for f in report.findings}
    assert kind in messages, report
    assert text in messages[kind]


def test_candidate_that_never_returns_ends_the_check() -> None:
    def hangs(x: torch.Tensor) -> torch.Tensor:
        while x.numel() > 0:
            time.sleep(0.01)
        return x

    began = time.monotonic()
    report = check("aten.relu.default", hangs, inputs=RANDOM, budget="20s", timeout=0.5)
    assert [f.kind for f in report.findings] == ["timeout"]
    assert time.monotonic() - began < 10


def test_view_is_fine_where_the_operator_gives_one() -> None:
    report = check("aten.transpose.int", lambda x: x.transpose(0, 1), attributes={"dim0": 0, "dim1": 1},
                   inputs=RANDOM, budget="60trials")  # fmt: skip
    assert report.ok, report


def test_script_runs_as_it_is(tmp_path: Path) -> None:
    report = check("aten.tanh.default", tanh_overflowing, budget="100trials")
    script = tmp_path / "reproduce.py"
    script.write_text(next(f for f in report.findings if f.kind == "nonfinite").reproducer())
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith("the fault is still there\n")
    assert "expected 0: float64" in done.stdout
    assert "actual 0: float32" in done.stdout
    assert "nan" in done.stdout


def test_user_named_axes() -> None:
    x = torch.randn(4, 4)
    report = check("aten.mul.Tensor", torch.mul, inputs=[(x, x.clone())], axes=[("n", 4), ("n", 4)], budget="60trials")
    assert report.ok, report


def test_budget_of_time_is_kept() -> None:
    began = time.monotonic()
    report = check("aten.softmax.int", softmax_plain, attributes={"dim": -1}, budget="2s")
    assert report.ok, report
    assert 1.5 < time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: check("aten.nosuch.default", torch.relu, inputs=RANDOM), UnknownOperator, "nosuch"),
        (lambda: check("aten.erfinv.default", torch.relu), UnknownOperator, "no seeds"),
        (lambda: check("aten.relu.default", 3, inputs=RANDOM), BadInputs, "not a callable"),  # type: ignore[arg-type]
        (lambda: check("aten.relu.default", torch.relu, inputs=RANDOM, budget="ten"), BadOption, "budget"),
        (lambda: check("aten.relu.default", torch.relu, inputs=RANDOM, dtypes=["int7"]), BadOption, "int7"),
        (lambda: check("aten.relu.default", torch.relu, inputs=[]), BadInputs, "no example"),
        (lambda: check("aten.mm.default", torch.mm, inputs=[(np.ones((2, 3)), np.ones((2, 3)))]), BadInputs, "rejects"),
    ],
)
def test_bad_use_gives_one_line(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        call()  # type: ignore[operator]
    assert "\n" not in str(raised.value)
