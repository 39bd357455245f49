"""IREE beyond the conformance kit. A build takes a second, so few are made; the devices share all of the code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Ok, Unsupported
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch
from tapml_fuzz.platforms.base import BuildRejected, info_of
from tapml_fuzz.platforms.onnx.iree import platform as platform
from tapml_fuzz.platforms.onnx.iree.module import compile_mlir
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.operators import MINILM, add, case

_SIZES = {"a": 4, "b": 11, "m": 3, "n": 10}


@pytest.fixture(scope="module")
def session() -> Iterator[WorkerSession]:
    with WorkerSession("iree-llvm-cpu", run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"iree-llvm-cpu: {info.reason}")
        yield isolated


@pytest.mark.parametrize("name", ["layer_norm", "index"])
def test_agrees_with_torch(name: str, session: WorkerSession) -> None:
    operator = MINILM[name]
    given = case(operator, **{axis: _SIZES[axis] for axis in operator.axis_names})
    outcome = session.run(given)
    assert isinstance(outcome, Ok), outcome
    wanted = [to_numpy(t) for t in call(operator, [to_torch(t) for t in given.tensors], given.sizes)]
    for actual, right in zip(outcome.outputs, wanted, strict=True):
        assert (actual.shape, actual.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(actual.astype(np.float64), right.astype(np.float64), 1e-4, 1e-5)


def test_float64_is_not_computed_in_float32(session: WorkerSession) -> None:
    given = case(add("float64"), a=2, b=3)
    outcome = session.run(given)
    assert isinstance(outcome, Ok), outcome
    np.testing.assert_array_equal(outcome.outputs[0], given.tensors[0] + given.tensors[1])


def test_vulkan_refuses_what_it_does_not_claim_in_words() -> None:
    with WorkerSession("iree-vulkan") as vulkan:
        if not vulkan.info().available:
            pytest.skip(f"iree-vulkan: {vulkan.info().reason}")
        for dtype in ("float16", "float64"):
            outcome = vulkan.run(case(add(dtype), a=2, b=2))
            assert isinstance(outcome, Unsupported)
            assert dtype in outcome.reason


def test_compilers_own_words_are_the_message() -> None:
    pytest.importorskip("iree.compiler")
    with pytest.raises(BuildRejected, match=r"error: .*nonsense") as raised:
        compile_mlir("func.func @f() { nonsense }", ())
    assert raised.value.source == "func.func @f() { nonsense }"


def test_compiler_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("iree.compiler")
    monkeypatch.setattr("tapml_fuzz.platforms.onnx.iree.module._COMPILE_TIMEOUT_S", 0.01)
    with pytest.raises(BuildRejected, match=r"no answer within 0\.01 s"):
        compile_mlir("", ())


def test_absent_device_says_how_to_get_one() -> None:
    info = info_of(platform.IreeCuda())
    if info.available:
        pytest.skip("an NVIDIA GPU is here")
    assert "cuda" in info.reason or "not installed" in info.reason
    assert info.hint
