"""How standalone scripts end: a ratio, a verdict in words, and an exit status."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import inf, nan

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import numpy_dtype
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.judge import judge
from tapml_fuzz.operators.invoke import to_torch
from tapml_fuzz.oracle import truth
from tapml_fuzz.oracle.difference import difference
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.reporting.error_ratio import ratio
from tapml_fuzz.reporting.standalone import standalone_reproducer
from tapml_fuzz.storage.findings import Evidence
from tests.platforms.operators import A, B, X, aten
from tests.reporting.test_standalone import record, run, run_all

# The kind of a finding, what `compute` gives now (`x0` are the numbers 1 and 2, which the operator doubles), what was
# found, and whether the fault is still there.
_LATER: list[tuple[Any, str, list[float], bool]] = [
    ("wrong", "[x0 * 2]", [3, 4], False),
    ("wrong", "[x0 * 2.0001]", [3, 4], True),
    ("wrong", "[x0 * 2, x0]", [3, 4], True),
    ("nonfinite", "[x0 * nan]", [nan, nan], True),
    ("nonfinite", "[x0 / 0]", [inf, inf], True),
    ("reference-suspect", "[x0 * 2.0001]", [3, 4], True),
    ("permitted", "[x0 * 2.0001]", [3, 4], False),
    ("unwritten", "[torch.where(x0 < 2, x0 * 2, nan)]", [3, 4], True),
    ("shape", "[x0[:1] * 2]", [3], True),
    ("shape", "[x0 * 2]", [3], False),
    ("dtype", "[(x0 * 2).double()]", [2, 4], True),
    ("dtype", "[x0 * 2]", [2, 4], False),
    ("nondeterministic", "[x0 * 2]", [3, 4], False),
    ("nondeterministic", "[x0 * 2 + torch.rand(2) * 1e-9]", [3, 4], False),  # lost in rounding: the same
    ("nondeterministic", "[x0 * 2 + torch.rand(2)]", [3, 4], True),
    ("crash", "[]", [], False),
    ("timeout", "[x0 * 2.0001]", [], True),
]


def test_script_ends_with_a_verdict(tmp_path: Path) -> None:
    operator = aten("mul.Tensor", [X, 2.0], [(A,)])
    given = Case(operator, {"a": 2}, (np.array([1, 2], np.float32),))
    right = truth(operator, given.tensors, {})
    for number, (kind, now, found, _) in enumerate(_LATER):
        outputs = (np.array(found, np.float64 if kind == "dtype" else np.float32),) if found else ()
        evidence = Evidence(given, right.values, outputs, right.bounds)
        reproducer = Reproducer((), f"def compute(x0):\n    return {now}\n")
        text = standalone_reproducer(record("echo", operator, kind, ratio=12.5), evidence, reproducer)
        (tmp_path / f"{number}.py").write_text(text)
    scripts = [str(tmp_path / f"{number}.py") for number in range(len(_LATER))]
    ended = run_all(scripts, tmp_path)
    for (kind, now, _, fault), path in zip(_LATER, scripts, strict=True):
        status, said = ended[path]
        assert status == int(fault), (kind, now, said)
        assert re.search("ratio to the error bound: .*, 12.5 when it was found\n", said)
        last = "the fault is still there" if fault else "the fault is gone"
        if kind == "permitted":
            last = "what is outside the bound is permitted by the platform's specification: no fault"
        assert said.splitlines()[-1] == last


@pytest.mark.parametrize(("given_now", "fault"), [("x0.argmin(-1)", True), ("x0.argmax(-1)", False)])
def test_indices_are_wrong_as_long_as_they_are_those_found(given_now: str, fault: bool, tmp_path: Path) -> None:
    operator = aten("argmax.default", [X, -1], [(A, B)])
    given = Case(operator, {"a": 1, "b": 3}, (np.array([[5, 5, 1]], np.float32),))
    found = Ok((np.array([2]),))
    right = truth(operator, given.tensors, {})
    result = Result("echo", given, judge(given, found, right), found, right)
    assert result.verdict.kind == "wrong"
    evidence = Evidence(given, right.values, found.outputs, result.bounds)
    reproducer = Reproducer((), f"def compute(x0):\n    return [{given_now}]\n")
    done = run(standalone_reproducer(record("echo", operator), evidence, reproducer), tmp_path)
    assert done.returncode == int(fault), done.stdout + done.stderr


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_distance_of_a_script_is_the_judges(dtype: str) -> None:
    """On numbers of every class, near the bound, near overflow, and where nothing is judged."""
    random = np.random.default_rng(0)
    largest = dtypes.largest(dtype)
    with np.errstate(over="ignore"):
        beyond = np.array([largest, -largest]) * 1.01
    exact = np.concatenate(
        [random.standard_normal(200), [np.inf, -np.inf, np.nan, 0.0], [largest, -largest] * 9, beyond]
    )
    for number in range(120):
        with np.errstate(over="ignore", invalid="ignore"):
            bound = np.abs(exact) * random.choice([0, 1e-6, 1e-3, 1e-2, np.inf], exact.size)
            bound[200:204] = 0.0
            shifted = exact * (1 + random.standard_normal(exact.size) * random.choice([0, 1e-6, 1e-3, 1e-2]))
            actual = shifted.astype(numpy_dtype(dtype))
        place = 200 + number % (exact.size - 200)
        actual[place] = random.choice([np.inf, -np.inf, np.nan, 0.0])
        given, wanted = to_torch(actual), torch.from_numpy(exact)
        for limits in (torch.from_numpy(bound), None):
            if limits is None:
                wanted = wanted.to(given.dtype).double()
            for chosen in (slice(None), slice(place, place + 1), slice(0, 200)):
                one, two = given[chosen], wanted[chosen]
                three = None if limits is None else limits[chosen]
                judged = difference(one, two, three, dtype).ratio
                assert ratio(one, two, three) == pytest.approx(judged), (one, two, three)
