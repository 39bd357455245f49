"""MiniLM's operators on ONNX Runtime: what runs agrees with torch, and what cannot is refused in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Ok, Unsupported
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.operators import MINILM, add, case

_SIZES = {"a": 4, "b": 11, "c": 5, "k": 7, "m": 3, "n": 10}
# One of each kind; an export takes half a second, and the other operators go the same way.
_NAMES = ["layer_norm", "addmm", "gelu", "index", "view-merge", "slice", "to-bool", "full-inf"]


@pytest.fixture(scope="module")
def session() -> Iterator[WorkerSession]:
    with WorkerSession("onnxruntime-cpu", run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"onnxruntime-cpu: {info.reason}")
        yield isolated


@pytest.mark.parametrize("name", _NAMES)
def test_agrees_with_torch(name: str, session: WorkerSession) -> None:
    operator = MINILM[name]
    given = case(operator, **{axis: _SIZES[axis] for axis in operator.axis_names})
    outcome = session.run(given)
    assert isinstance(outcome, Ok), outcome
    wanted = [to_numpy(t) for t in call(operator, [to_torch(t) for t in given.tensors], given.sizes)]
    for actual, right in zip(outcome.outputs, wanted, strict=True):
        assert (actual.shape, actual.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(actual.astype(np.float64), right.astype(np.float64), 1e-4, 1e-5)


def test_dtype_without_a_kernel_is_refused_in_words(session: WorkerSession) -> None:
    outcome = session.run(case(add("bfloat16"), a=2, b=2))
    assert isinstance(outcome, Unsupported)
    assert "bfloat16" in outcome.reason
