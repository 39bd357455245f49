"""TVM through C and gcc: what gcc refuses is a build error with its source, and nothing is left on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, info_of
from tapml_fuzz.platforms.tvm.c import TvmC, c_complaint
from tests.platforms.operators import MINILM, SOFTMAX, A, B, X, aten, case

pytest.importorskip("tvm")


@pytest.fixture(scope="module")
def platform() -> TvmC:
    made = TvmC()
    info = info_of(made)
    if not info.available:
        pytest.skip(f"tvm-c: {info.reason}")
    return made


def test_missing_compiler_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    info = info_of(TvmC())
    assert not info.available
    assert "gcc" in info.reason
    assert "gcc" in info.hint


def test_library_is_gone_once_it_is_loaded(platform: TvmC, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    build = platform.build(BuildSpec(SOFTMAX, ("float32",), {}))
    assert not list(tmp_path.glob("tapml-fuzz-c-*"))
    given = case(SOFTMAX, a=3, b=5)
    (output,) = platform.run(build, given.tensors, given.layouts, given.sizes).outputs
    shifted = np.exp(given.tensors[0] - given.tensors[0].max(1, keepdims=True))
    np.testing.assert_allclose(output, shifted / shifted.sum(1, keepdims=True), 1e-5)


def test_what_gcc_refuses_is_a_build_error_with_its_source(platform: TvmC, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapml_fuzz.platforms.tvm.c._OPTIONS", ("-DTVM_DLL=nonsense",))
    with pytest.raises(BuildRejected, match="nonsense") as caught:
        platform.build(BuildSpec(SOFTMAX, ("float32",), {"a": 3, "b": 5}))
    assert "expf(" in caught.value.source


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtypes_that_c_does_not_have_are_not_claimed(platform: TvmC, dtype: str) -> None:
    capabilities = platform.activate().capabilities
    assert capabilities is not None
    assert dtype not in capabilities.accepted


def test_compiler_complaint_names_what_is_wrong_without_paths() -> None:
    said = (
        "Compilation error:\n/tmp/x/lib0.c: In function 'f':\n/tmp/x/lib0.c:2:3: error: 'inff' undeclared\n  2 | inff\n"
    )
    assert c_complaint(said) == "'inff' undeclared"
    assert c_complaint("gcc: killed") == "gcc: killed"


def test_unwritten_elements_are_told_from_lookalikes(platform: TvmC) -> None:
    """The runner that every platform of TVM's own runtime shares: a program whose call is left out writes nothing."""
    build = platform.build(BuildSpec(aten("neg.default", [X], [(A, B)]), ("float32",), {}))
    given = Case(MINILM["gelu"], {"a": 2, "b": 3}, (np.ones((2, 3), np.float32),))
    assert platform.run(build, given.tensors, given.layouts, given.sizes).unwritten == (0,)
    idle = {name: lambda *arguments: None for name in build.functions}
    broken = type(build)(build.program, idle)
    assert platform.run(broken, given.tensors, given.layouts, given.sizes).unwritten == (6,)
