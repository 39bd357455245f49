"""One row per target of TVM's: every platform of TVM's has one, and begins alike."""

from __future__ import annotations

import importlib.machinery
import sys
from typing import Any

import pytest

from tapml_fuzz.core.dtypes import NAMES
from tapml_fuzz.platforms.base import Unavailable, info_of
from tapml_fuzz.platforms.registry import known, load, location
from tapml_fuzz.platforms.tvm import targets
from tapml_fuzz.platforms.tvm.targets import TARGETS, TvmTarget, begin

tvm = pytest.importorskip("tvm")

_ROWS = pytest.mark.parametrize("name", TARGETS)


def test_every_platform_of_tvm_has_a_row() -> None:
    assert set(TARGETS) == {name for name in known() if name.startswith("tvm-")}
    assert all(load(location(name)).row is row for name, row in TARGETS.items())  # type: ignore[attr-defined]


@_ROWS
def test_a_row_is_a_target_that_tvm_knows(name: str) -> None:
    row = TARGETS[name]
    made = tvm.target.Target(row.options())
    assert str(made.kind.name) == row.kind
    assert (made.host is None) == (row.host is None)
    assert {*row.dtypes, *row.also_accepts} <= {*NAMES}
    assert not {*row.dtypes} & {*row.also_accepts}
    for passes in ("library_dispatch_passes", "legalize_passes", "dataflow_lower_passes"):
        assert hasattr(row.passes(), passes)
    assert row.hint
    assert row.policy.source


def test_options_of_the_machine_and_of_its_host() -> None:
    assert TARGETS["tvm-llvm"].options(mtriple="a") == {"kind": "llvm", "mtriple": "a"}
    cuda = TARGETS["tvm-cuda"]
    assert cuda.options(arch="sm_90") == {"kind": "cuda", "arch": "sm_90", "host": {"kind": "llvm"}}
    assert cuda.options(host={"kind": "c"})["host"] == {"kind": "c"}


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM as if it had been built without the function `name`."""
    found = tvm.get_global_func

    def missing(asked: str, *, allow_missing: bool = False) -> Any:
        return None if asked == name else found(asked, allow_missing=allow_missing)

    monkeypatch.setattr(tvm, "get_global_func", missing)


@_ROWS
def test_a_tvm_without_the_code_generator_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = TARGETS[name]
    monkeypatch.setattr(targets, "is_wheel_without", lambda device: False)
    without(f"target.build.{row.kind}", monkeypatch)
    with pytest.raises(Unavailable, match=f"this TVM has no {row.kind} code generator") as caught:
        begin(row)
    assert caught.value.hint == row.hint


def test_a_tvm_without_the_runtime_or_the_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "is_wheel_without", lambda device: False)
    row = TvmTarget("llvm", "cpu_generic", (), TARGETS["tvm-llvm"].policy, "buy one", device="metal")
    with pytest.raises(Unavailable, match=r"this TVM has no metal runtime|TVM sees no metal device") as caught:
        begin(row)
    assert caught.value.hint == "buy one"
    assert begin(row, own_runtime=False) == (tvm, None), "another API is the runtime"
    monkeypatch.setattr(targets, "is_wheel_without", lambda device: True)
    with pytest.raises(Unavailable, match="this TVM has no metal runtime"):
        begin(row)


@pytest.mark.parametrize("name", ["tvm-llvm", "tvm-opencl", "tvm-webgpu"])
def test_no_tvm_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tvm", None)
    info = info_of(load(location(name)))
    assert info.reason.startswith("TVM cannot be imported: ")
    assert info.hint == "pip install apache-tvm"


def test_a_wheel_says_by_its_libraries_what_it_lacks(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib"
    library.mkdir()
    spec = importlib.machinery.ModuleSpec("tvm", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert not targets.is_wheel_without("cuda"), "another layout says nothing"
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so", "libtvm_runtime_cuda.so"):
        (library / name).touch()
    assert not targets.is_wheel_without("cuda")
    assert targets.is_wheel_without("metal")
