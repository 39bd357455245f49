"""TVM for CUDA as far as no device is needed: CUDA source for the whole corpus, its compiler, its words."""

from __future__ import annotations

import ctypes
import re
import shutil

import pytest

from tapml_fuzz.core.operator import Operator
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, DeviceLost, NeedsStatic, NotSupported, info_of
from tapml_fuzz.platforms.tvm import cuda as tvm_cuda
from tapml_fuzz.platforms.tvm.cuda import TvmCuda
from tapml_fuzz.platforms.tvm.native import TvmLlvm
from tapml_fuzz.platforms.tvm.runtime import TvmRuntime
from tapml_fuzz.storage.corpus import Corpus, Entry, default_corpus_path
from tests.platforms.operators import MINILM, SOFTMAX, A, B, X, aten, case

tvm = pytest.importorskip("tvm")
if tvm.get_global_func("target.build.cuda", allow_missing=True) is None:
    pytest.skip("this TVM has no CUDA code generator", allow_module_level=True)

_CORPUS = Corpus.open(default_corpus_path()).entries


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> tuple[TvmCuda, list[str]]:
    """The platform for an H100 or H200, without a device, and the sources it gives to a compiler that takes all."""
    platform, sources = TvmCuda(), list[str]()

    def keep(self: TvmCuda, source: str) -> bytes:
        sources.append(source)
        return b"binary"

    monkeypatch.setattr(tvm_cuda, "_present", lambda compiler: True)
    monkeypatch.setattr(TvmCuda, "_compile", keep)
    platform.prepare("sm_90")
    sources.clear()
    return platform, sources


@pytest.mark.parametrize("entry", _CORPUS, ids=lambda entry: entry.operator.key)
def test_every_operator_of_the_corpus_becomes_cuda_source(entry: Entry, uncompiled: tuple[TvmCuda, list[str]]) -> None:
    platform, sources = uncompiled
    operator = entry.operator
    sizes = {name: 8 for name in operator.axis_names if name not in operator.symbolic_axes}
    try:
        build = platform.build(BuildSpec(operator, operator.dtypes, sizes))
    except NeedsStatic:
        build = platform.build(BuildSpec(operator, operator.dtypes, dict.fromkeys(operator.axis_names, 8)))
    assert set(build.functions) == {call.function for call in build.program.calls}
    if build.program.calls:  # a view has none
        assert any('extern "C" __global__ void' in source for source in sources)
        assert all(f"{name}_kernel" in "".join(sources) for name in build.functions)


@pytest.mark.parametrize(("operator", "sizes"), [
    (SOFTMAX, {"a": 0, "b": 5}),
    (SOFTMAX, {"a": 5, "b": 0}),
    (aten("slice.Tensor", [X, 0, 2, 2], [(A, B)]), {"a": 5, "b": 7}),  # only its output is empty
])  # fmt: skip
def test_tensors_of_no_elements_are_refused_before_a_launch(
    operator: Operator, sizes: dict[str, int], uncompiled: tuple[TvmCuda, list[str]]
) -> None:
    platform, _ = uncompiled
    given = case(operator, **sizes)
    try:
        build = platform.build(BuildSpec(operator, operator.dtypes, {}))
    except NeedsStatic:
        build = platform.build(BuildSpec(operator, operator.dtypes, sizes))
    assert not platform.row.takes_empty
    with pytest.raises(NotSupported, match="20278"):
        platform.run(build, given.tensors, given.layouts, given.sizes)


def test_tensors_of_no_elements_are_not_refused_on_a_processor() -> None:
    platform = TvmLlvm()
    assert info_of(platform).available
    given = case(SOFTMAX, a=0, b=5)
    run = platform.run(
        platform.build(BuildSpec(SOFTMAX, SOFTMAX.dtypes, {})), given.tensors, given.layouts, given.sizes
    )
    assert [output.shape for output in run.outputs] == [(0, 5)]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_nvcc_compiles_it_and_its_errors_are_build_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_CUDA_COMPILE_MODE", "nvcc")
    platform = TvmCuda()
    platform.prepare("sm_90")
    platform.build(BuildSpec(SOFTMAX, ("float32",), {}))
    (binary,) = platform._binaries.values()
    assert len(binary) > 1000
    # What was compiled at build is what TVM's runtime is given when it asks.
    (source,) = platform._binaries
    assert bytes(tvm.get_global_func("tvm_callback_cuda_compile")(source)) == binary
    assert not platform._binaries
    with pytest.raises(BuildRejected, match="nonsense") as caught:
        platform._compile('extern "C" __global__ void f(nonsense* x) {}\n')
    assert "__global__" in caught.value.source


def test_no_driver_and_no_compiler_are_named_with_their_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    with monkeypatch.context() as patched:
        patched.setattr(ctypes, "CDLL", no_library)
        info = info_of(TvmCuda())
    assert not info.available
    assert "libcuda" in info.reason
    assert "NVIDIA" in info.hint
    monkeypatch.setattr(tvm_cuda, "_present", lambda compiler: False)
    monkeypatch.delenv("TVM_CUDA_COMPILE_MODE", raising=False)
    with pytest.raises(BuildRejected, match="nvrtc is not there; nvcc is not there"):
        TvmCuda().prepare("sm_90")


@pytest.mark.parametrize(("message", "lost"), [
    ("CUDA Error: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered", True),
    ("CUDALaunch Error: CUDA_ERROR_INVALID_VALUE grid=(0,1,1)", False),
    ("input 0 has shape (2,), built for (3,)", False),
])  # fmt: skip
def test_error_that_stays_with_the_context_costs_the_worker(
    message: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(TvmRuntime, "run", fail)
    with pytest.raises(DeviceLost if lost else RuntimeError, match=re.escape(message)) as caught:
        TvmCuda().run(None, (), (), {})  # type: ignore[arg-type]
    assert isinstance(caught.value, DeviceLost) is lost


def test_script_runs_on_the_device() -> None:
    given = case(MINILM["addmm"], m=2, k=3, n=4)
    source = TvmCuda().reproducer(BuildSpec(given.operator, given.dtypes, {}), given.sizes, given.layouts).source
    compile(source, "reproduce.py", "exec")
    assert "tvm.runtime.from_dlpack(x0).copyto(tvm.cuda())" in source
    assert "torch.from_dlpack(tensor.copyto(tvm.cpu()))" in source
