"""torch.compile as a platform: one build for every size, nothing compiled while a case runs, a bounded folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Built, Ok, RunError, Unsupported
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, NeedsStatic, NotSupported, info_of
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.torch import inductor as torch_inductor
from tapml_fuzz.platforms.torch.inductor import TorchInductor, traced
from tests.platforms.operators import LAYER_NORM, MINILM, SOFTMAX, X, Y, aten, case

# torch's own, from a module that inductor imports.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def session() -> Iterator[WorkerSession]:
    with WorkerSession("torch-inductor", run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"torch-inductor: {info.reason}")
        yield isolated


@pytest.mark.parametrize(("name", "sizes"), [
    ("layer_norm", [{"a": 4, "b": 6}, {"a": 1, "b": 130}, {"a": 0, "b": 5}, {"a": 5, "b": 1}]),
    ("addmm", [{"m": 3, "k": 7, "n": 10}, {"m": 1, "k": 1, "n": 1}, {"m": 0, "k": 3, "n": 4},
        {"m": 2, "k": 0, "n": 4}]),
    ("index", [{"a": 3, "b": 4, "m": 6, "n": 6}, {"a": 1, "b": 1, "m": 1, "n": 1}, {"a": 40, "b": 3, "m": 2, "n": 9}]),
    ("view-merge", [{"a": 3, "b": 4, "c": 5}, {"a": 1, "b": 4, "c": 1}, {"a": 4, "b": 4, "c": 4}]),
])  # fmt: skip
def test_one_build_serves_sizes_of_every_kind(session: WorkerSession, name: str, sizes: list[dict[str, int]]) -> None:
    before = session.builds
    for given in (case(MINILM[name], **each) for each in sizes):
        outcome = session.run(given)
        assert isinstance(outcome, Ok), (given.sizes, outcome)
        wanted = torch_inductor.TorchCpu().run(given.operator, given.tensors, given.layouts, given.sizes).outputs
        for actual, right in zip(outcome.outputs, wanted, strict=True):
            assert (actual.shape, actual.dtype) == (right.shape, right.dtype)
            np.testing.assert_allclose(actual, right, 1e-4, 1e-5)
        built = session.build(given.operator, given.dtypes, given.sizes)
        assert isinstance(built, Built)
        assert built.symbolic
    assert session.builds - before == 1


def test_shape_that_contradicts_the_operator_is_refused_in_words(session: WorkerSession) -> None:
    bad = Case(SOFTMAX, {"a": 2, "b": 3}, (np.ones((2, 4), np.float32),))
    outcome = session.run(bad)
    assert isinstance(outcome, RunError)
    assert "(2, 4)" in outcome.message


def test_nothing_is_compiled_while_a_case_runs() -> None:
    """A build for one shape, given another, says so instead of compiling."""
    platform = TorchInductor()
    assert info_of(platform).available
    operator = aten("neg.default", [X], MINILM["gelu"].axes)
    build = platform.build(BuildSpec(operator, ("float32",), {"a": 3, "b": 4}))
    ones = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(platform.run(build, [ones], ["contiguous"], {"a": 3, "b": 4}).outputs[0], -ones)
    with pytest.raises(NotSupported, match="compile again"):
        platform.run(build, [np.ones((5, 4), np.float32)], ["contiguous"], {"a": 5, "b": 4})


def test_what_eager_torch_refuses_too_is_no_fault_of_the_compiler() -> None:
    platform = TorchInductor()
    assert info_of(platform).available
    mismatched = aten("mm.default", [X, Y], [MINILM["gelu"].axes[0]] * 2)
    with pytest.raises(NeedsStatic):
        platform.build(BuildSpec(mismatched, ("float32", "float32"), {}))
    with pytest.raises(NotSupported, match="eager torch"):
        platform.build(BuildSpec(mismatched, ("float32", "float32"), {"a": 3, "b": 4}))


def test_compiler_that_refuses_is_a_build_error(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = TorchInductor()
    assert info_of(platform).available

    def broken(module: object, *_: object, **__: object) -> object:
        def refuse(*tensors: object) -> None:
            raise RuntimeError("C++ compile error\nkernel.cpp:3:4: error: 'nonsense' was not declared\n  3 | nonsense")

        return refuse

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(BuildRejected, match="'nonsense' was not declared") as caught:
        platform.build(BuildSpec(SOFTMAX, ("float32",), {"a": 3, "b": 4}))
    assert "torch.ops.aten._softmax.default" in caught.value.source


def test_call_is_traced_with_sizes_read_from_tensors() -> None:
    module = traced(BuildSpec(LAYER_NORM, ("float32",) * 3, {}))
    for width in (3, 8):
        given = case(LAYER_NORM, a=2, b=width)
        outputs = module(*map(torch.from_numpy, given.tensors))
        assert [tuple(o.shape) for o in outputs] == [(2, width), (2, 1), (2, 1)]
    fixed = traced(BuildSpec(LAYER_NORM, ("float32",) * 3, {"a": 2, "b": 3}))
    assert "shape" not in fixed.code
    with pytest.raises(NeedsStatic) as caught:
        traced(BuildSpec(MINILM["view-split"], ("float32",), {}))
    assert set(caught.value.axes) == {"a", "b"}


def test_missing_compiler_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    info = info_of(TorchInductor())
    assert not info.available
    assert "no-such-compiler" in info.reason
    assert "g++" in info.hint


def test_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    info = info_of(TorchInductor())
    assert not info.available
    assert "XDG_CACHE_HOME" in info.hint


def test_other_strides_are_packed(session: WorkerSession) -> None:
    given = case(MINILM["permute"], layout="transposed", a=3, b=4, c=5)
    outcome = session.run(given)
    assert not isinstance(outcome, Unsupported), outcome
    assert isinstance(outcome, Ok)
    np.testing.assert_array_equal(outcome.outputs[0], given.tensors[0].transpose(0, 2, 1))
