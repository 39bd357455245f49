"""MiniLM's operators on TVM: what runs agrees with torch, and what does not run says so."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.outcome import BuildError, Built, Ok, Unsupported
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.operators import LAYER_NORM, MINILM, case

_SIZES = [
    {"a": 4, "b": 6, "c": 5, "k": 7, "m": 3, "n": 10},
    {"a": 33, "b": 130, "c": 17, "k": 70, "m": 65, "n": 33},
    {"a": 1, "b": 11, "c": 1, "k": 1, "m": 1, "n": 1},
]
# What TVM 0.27 does wrong: outputs that are not compared, and operators that may be refused by its compiler. A build
# error is never a wrong number, so an operator leaves these lists by being fixed, not by this test going red.
_WRONG_OUTPUTS = {"layer_norm": {1, 2}}  # mean and rstd: the importer returns the first output three times
_FULL_INF = {"full-inf"}  # the importer fails on an infinite fill value
_NO_BOOL = {"where", "to-bool", "ge-scalar", "bitwise-and"}  # WGSL with `array<i8>`
_WGSL = {"clamp", "select"}  # WGSL with the literal `inff`; an int64 constant
_MAY_REFUSE = {"tvm-llvm": _FULL_INF, "tvm-opencl": _FULL_INF, "tvm-webgpu": _FULL_INF | _NO_BOOL | _WGSL | {"arange"}}
# Every one of these is left open by torch.export and TVM alike.
_SYMBOLIC = set(MINILM) - {"select", "arange", "full", "full-inf"}


@pytest.fixture(scope="module", params=_MAY_REFUSE)
def session(request: pytest.FixtureRequest) -> Iterator[WorkerSession]:
    with WorkerSession(request.param, run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"{request.param}: {info.reason}")
        yield isolated


@pytest.mark.parametrize("name", MINILM)
def test_agrees_with_torch(name: str, session: WorkerSession) -> None:
    operator = MINILM[name]
    for number, sizes in enumerate(_SIZES):
        given = case(operator, **{axis: sizes[axis] for axis in operator.axis_names})
        outcome = session.run(given)
        if isinstance(outcome, BuildError | Unsupported):
            assert name in _MAY_REFUSE[session.name], outcome
            return
        assert isinstance(outcome, Ok), outcome
        assert not any(outcome.unwritten)
        assert outcome.mutated == ()
        wanted = [to_numpy(t) for t in call(operator, [to_torch(t) for t in given.tensors], given.sizes)]
        assert len(outcome.outputs) == len(wanted)
        for index, (actual, right) in enumerate(zip(outcome.outputs, wanted, strict=True)):
            if index in _WRONG_OUTPUTS.get(name, ()):
                continue
            assert (actual.shape, actual.dtype) == (right.shape, right.dtype)
            np.testing.assert_allclose(actual.astype(np.float64), right.astype(np.float64), 1e-4, 1e-5)
        if name in _SYMBOLIC and number == 0:
            built = session.build(operator, given.dtypes, given.sizes)
            assert isinstance(built, Built)
            assert built.symbolic, f"{name} was built for one shape only"


def test_what_tvm_only_supports_in_other_dtypes_is_no_fault(session: WorkerSession) -> None:
    """Its layer_norm says that it takes float32 and float16 only, as an error of its compiler."""
    norm = msgspec.structs.replace(LAYER_NORM, dtypes=("bfloat16",) * 3, outputs=(0,))
    outcome = session.run(case(norm, a=2, b=3))
    assert isinstance(outcome, Ok | Unsupported), outcome
    if isinstance(outcome, Unsupported) and session.name != "tvm-webgpu":
        assert "only support float32 and float16" in outcome.reason
