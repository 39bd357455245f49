"""OpenVINO's CPU plugin: it computes in float32 and int32, and what it cannot hold so is refused in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.operator import DType
from tapml_fuzz.core.outcome import Ok, Unsupported
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.operators import MINILM, A, B, X, add, aten, case

_SIZES = {"a": 4, "b": 11, "c": 5, "k": 7, "m": 3, "n": 10}
# One of each kind; an export takes half a second, and the other operators go the same way.
_NAMES = ["layer_norm", "addmm", "gelu", "index", "view-merge", "slice", "to-bool", "full-inf"]


@pytest.fixture(scope="module")
def session() -> Iterator[WorkerSession]:
    with WorkerSession("openvino-cpu", run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"openvino-cpu: {info.reason}")
        yield isolated


def ran(session: WorkerSession, given: Case) -> Ok:
    outcome = session.run(given)
    assert isinstance(outcome, Ok), outcome
    return outcome


def refused(session: WorkerSession, given: Case) -> str:
    outcome = session.run(given)
    assert isinstance(outcome, Unsupported), outcome
    return outcome.reason


@pytest.mark.parametrize("name", _NAMES)
def test_agrees_with_torch(name: str, session: WorkerSession) -> None:
    """To float32's precision: by default the plugin multiplies in bfloat16 where the processor can."""
    operator = MINILM[name]
    given = case(operator, **{axis: _SIZES[axis] for axis in operator.axis_names})
    wanted = [to_numpy(t) for t in call(operator, [to_torch(t) for t in given.tensors], given.sizes)]
    for actual, right in zip(ran(session, given).outputs, wanted, strict=True):
        assert (actual.shape, actual.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(actual.astype(np.float64), right.astype(np.float64), 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "int8", "uint8"])
def test_dtype_that_it_does_not_compute_in_is_refused_in_words(dtype: str, session: WorkerSession) -> None:
    assert dtype in refused(session, case(add(dtype), a=2, b=2))


def test_int64_is_taken_as_far_as_it_is_the_same_in_32_bits(session: WorkerSession) -> None:
    to_float = aten("_to_copy.default", [X], [(A, B)], "int64", dtype=DType("float32"))
    small, wide = np.array([[7, -(2**31)]]), np.array([[7, 2**31]])
    (output,) = ran(session, Case(to_float, {"a": 1, "b": 2}, (small,))).outputs
    np.testing.assert_array_equal(output, small.astype(np.float32))
    assert "exceeds 32 bits" in refused(session, Case(to_float, {"a": 1, "b": 2}, (wide,)))
    assert "int64" in refused(session, case(add("int64"), a=2, b=2))


@pytest.mark.parametrize(("dtype", "most"), [("int16", 2**15 - 1), ("int32", 2**31 - 1)])
def test_sums_of_integers_wrap_as_torch_has_them(dtype: str, most: int, session: WorkerSession) -> None:
    one = np.ones((1, 2), dtype)
    given = Case(add(dtype), {"a": 1, "b": 2}, (np.array([[most, 5]], dtype), one))
    np.testing.assert_array_equal(ran(session, given).outputs[0], [[-most - 1, 6]])


def test_sums_keep_subnormals(session: WorkerSession) -> None:
    tiny = np.array([[1e-40, -1e-45]], np.float32)
    (output,) = ran(session, Case(add(), {"a": 1, "b": 2}, (tiny, tiny))).outputs
    np.testing.assert_array_equal(output, tiny + tiny)


def test_outputs_outlive_the_next_run() -> None:
    """The request's own memory is overwritten by the next run; in a process of its own this would not show."""
    pytest.importorskip("openvino")
    with InProcessSession("openvino-cpu") as here:
        first, second = case(add(), a=2, b=3), case(add(), seed=1, a=2, b=3)
        kept, other = here.run(first), here.run(second)
    for outcome, given in ((kept, first), (other, second)):
        assert isinstance(outcome, Ok), outcome
        np.testing.assert_array_equal(outcome.outputs[0], given.tensors[0] + given.tensors[1])


def test_operation_that_the_front_end_does_not_know_is_no_fault(session: WorkerSession) -> None:
    determinant = aten("det.default", [X], [(A, A)])
    assert "No conversion rule found for operations: Det" in refused(session, case(determinant, a=2))
