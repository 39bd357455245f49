"""Metal, ROCm and Vulkan without a device: Metal source for the whole corpus, and never a word of having run."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

from tapml_fuzz.core.outcome import Unsupported
from tapml_fuzz.platforms.base import BuildSpec, NeedsStatic, info_of
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.tvm import targets
from tapml_fuzz.platforms.tvm.host_program import HostProgram, Kernel, compile_kernels
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch
from tapml_fuzz.platforms.tvm.lowering import Program, lower
from tapml_fuzz.platforms.tvm.native import TvmDevice, TvmMetal, TvmRocm, TvmVulkan
from tapml_fuzz.storage.corpus import Corpus, Entry, default_corpus_path
from tests.platforms.metal_source import LARGEST_IS_ANOTHER, digits_lost, faults
from tests.platforms.operators import SOFTMAX, case

tvm = pytest.importorskip("tvm")
_CORPUS = Corpus.open(default_corpus_path()).entries

# What is wrong with what TVM 0.27 generates. Its literals have seven digits, where float32 needs nine to be told apart.
_KNOWN: dict[str, list[str]] = {
    # The maximum starts at -3.402823e+38f, which is larger than a masked element: such a row becomes NaN.
    "softmax-29a9c5a4": [LARGEST_IS_ANOTHER],
    # The square root of a half and the error function's coefficients are off by a unit in the last place.
    "gelu-eaa5b460": [digits_lost(10)],
    # 1 / sqrt(32), likewise.
    "mul-ebc93cdd": [digits_lost(1)],
}


@pytest.fixture(scope="module")
def metal() -> TvmMetal:
    if tvm.get_global_func("target.build.metal", allow_missing=True) is None:
        pytest.skip("this TVM has no Metal code generator")
    platform = TvmMetal()
    platform.prepare()
    return platform


def import_matmul_rules() -> None:
    """What TVM imports to schedule a matrix product for Metal.

    For each of its tensor intrinsics it asks `inspect` for the module of every frame of the stack, and where a frame
    has no file each question goes through all of `sys.modules`: minutes in a test. Nothing needs the answer.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getmodule", lambda *_: None)
        importlib.import_module("tvm.s_tir.tensor_intrin")


def lowered(platform: TvmDevice, entry: Entry) -> tuple[Program, dict[str, int]]:
    """The corpus operator's program, with as many open axes as TVM can leave, and sizes to run it at."""
    operator = entry.operator
    sizes = dict.fromkeys(operator.axis_names, 8)
    fixed = {name: 8 for name in operator.axis_names if name not in operator.symbolic_axes}
    try:
        return lower(BuildSpec(operator, operator.dtypes, fixed), platform.target, platform.row.passes()), sizes
    except NeedsStatic:
        return lower(BuildSpec(operator, operator.dtypes, sizes), platform.target, platform.row.passes()), sizes


def floats(module: Any) -> list[float]:
    """Every float32 constant in the tensor programs of a TVM module, as TVM's own printer writes them: in full."""
    return [float(text) for text in re.findall(r"T\.float32\((-?[0-9][^)]*)\)", module.script())]


@pytest.mark.parametrize("entry", _CORPUS, ids=lambda entry: entry.operator.key)
def test_metal_source_of_every_operator(entry: Entry, metal: TvmMetal, monkeypatch: pytest.MonkeyPatch) -> None:
    if entry.operator.short_name in ("addmm", "bmm"):
        import_matmul_rules()
    program, sizes = lowered(metal, entry)
    if not program.calls:  # a view
        return
    building = importlib.import_module("tvm.tirx.build")
    generate, intended = building.codegen_build, list[float]()

    def listening(module: Any, target: Any) -> Any:
        intended.extend(floats(module))
        return generate(module, target)

    monkeypatch.setattr(building, "codegen_build", listening)
    host = compile_kernels(program.functions, metal.target)
    assert "#include <metal_stdlib>" in host.source
    assert host.kernels
    tensors = [_Shaped(shape) for shape in entry.operator.shapes(sizes)]
    scalars = program.scalars(tensors)  # type: ignore[arg-type]
    storages = {number: f"buffer {number}" for number in range(program.storages)}
    launches = list(program.launches(host.functions, storages, scalars, lambda shape, dtype: "temporary"))
    launched = {launch.kernel for launch in launches}
    assert launched <= set(host.kernels)
    # TVM keeps the functions of reshapes that it has made views of.
    assert all(name.startswith("reshape") for name in set(host.kernels) - launched)
    assert faults(host, launches, intended) == _KNOWN.get(entry.operator.key, [])


class _Shaped:
    """A tensor as far as shapes are concerned."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


_SOURCE = """#include <metal_stdlib>
using namespace metal;
struct f_args_t {
  long n;
};
kernel void f(  device float* y [[ buffer(0) ]],
  device float* x [[ buffer(1) ]],
  constant f_args_t& arg [[ buffer(2) ]],
  uint blockIdx [[threadgroup_position_in_grid]]
) {
  y[0] = max(x[0], 5.000000e-01f);
}
"""
_LAUNCH = ReadyLaunch("f", ("y", "x"), (3,), (1, 1, 1), (64, 1, 1))


@pytest.mark.parametrize(("source", "launch", "fault"), [
    (_SOURCE, _LAUNCH, None),
    (_SOURCE[:-2], _LAUNCH, "unclosed {"),
    (_SOURCE.replace("01f)", "01f"), _LAUNCH, "unbalanced }"),
    (_SOURCE.replace("max(", "fmaxf("), _LAUNCH, "foreign word fmaxf"),
    (_SOURCE.replace("5.000000e-01f", "inff"), _LAUNCH, "foreign word inff"),
    (_SOURCE.replace("void f(", "void g("), _LAUNCH, "no kernel f"),
    (_SOURCE.replace("buffer(1)", "buffer(3)"), _LAUNCH, "buffers [0, 3, 2]"),
    (_SOURCE.replace("long n", "int n"), _LAUNCH, "scalars ['int']"),
    (_SOURCE.replace("5.000000e-01f", "5.000001e-01f"), _LAUNCH, digits_lost(1)),
    (_SOURCE, ReadyLaunch("g", (), (), (1, 1, 1), (1, 1, 1)), "launches g"),
    (_SOURCE, ReadyLaunch("f", ("y",), (3,), (1, 1, 1), (64, 1, 1)), "launched with 1 buffers"),
    (_SOURCE, ReadyLaunch("f", ("y", "x"), (3,), (1, 1, 1), (64, 32, 1)), "2048 threads"),
])  # fmt: skip
def test_the_checks_can_fail(source: str, launch: ReadyLaunch, fault: str | None) -> None:
    host = HostProgram({}, {"f": Kernel("f", 2, ("int64",))}, source)
    found = faults(host, [launch], [0.5])
    assert found == [] if fault is None else any(fault in text for text in found), found


@pytest.mark.parametrize("kind", [TvmMetal, TvmRocm, TvmVulkan])
def test_without_a_device_it_is_unavailable_and_says_where_to_get_one(kind: type[TvmDevice]) -> None:
    with WorkerSession(kind.name) as session:
        info = session.info()
        if info.available:
            pytest.skip(f"{kind.name} runs here, on {info.device}")
        assert info.reason.startswith("this TVM has no ")
        assert f"{kind.name}@rpc://HOST:PORT" in info.hint
        assert isinstance(session.run(case(SOFTMAX, a=2, b=2)), Unsupported), "built is not run"


def test_a_runtime_without_a_device_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "is_wheel_without", lambda device: False)
    platform = TvmMetal()
    if info_of(platform).available:
        pytest.skip("Metal runs here")
    assert info_of(platform).reason in ("this TVM has no metal runtime", "TVM sees no metal device")
    assert "float64" not in platform.row.dtypes, "a session refuses it"
