"""Metal, ROCm and Vulkan without a device: Metal source for the whole corpus, and never a word of having run."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tapml_fuzz.platforms.base import NeedsStatic, Unit
from tapml_fuzz.platforms.host_program import compile_kernels
from tapml_fuzz.platforms.tvm_devices import TvmDevice, TvmMetal
from tapml_fuzz.platforms.tvm_program import Program, lower
from tapml_fuzz.storage.corpus import Corpus, Entry, default_corpus_path
from tests.platforms.metal_source import faults

tvm = pytest.importorskip("tvm")
_CORPUS = Corpus.open(default_corpus_path()).entries

# What is wrong with what TVM 0.27 generates. Its literals have seven digits; float32 needs nine to be told apart.
_KNOWN: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def metal() -> TvmMetal:
    if tvm.get_global_func("target.build.metal", allow_missing=True) is None:
        pytest.skip("this TVM has no Metal code generator")
    platform = TvmMetal()
    platform.prepare()
    return platform


def lowered(platform: TvmDevice, entry: Entry) -> tuple[Program, dict[str, int]]:
    """The corpus operator's program, with as many open axes as TVM can leave, and sizes to run it at."""
    operator = entry.operator
    sizes = dict.fromkeys(operator.axis_names, 8)
    fixed = {name: 8 for name in operator.axis_names if name not in operator.symbolic_axes}
    try:
        return lower(Unit(operator, operator.dtypes, fixed), platform.target, platform.passes()), sizes
    except NeedsStatic:
        return lower(Unit(operator, operator.dtypes, sizes), platform.target, platform.passes()), sizes


def floats(module: Any) -> list[float]:
    """Every float32 constant in the tensor programs of a TVM module, as TVM's own printer writes them: in full."""
    return [float(text) for text in re.findall(r"T\.float32\((-?[0-9][^)]*)\)", module.script())]


@pytest.mark.parametrize("entry", _CORPUS, ids=lambda entry: entry.operator.key)
def test_metal_source_of_every_operator(entry: Entry, metal: TvmMetal, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert {launch.kernel for launch in launches} == set(host.kernels)
    assert faults(host, launches, intended) == _KNOWN.get(entry.operator.key, [])


class _Shaped:
    """A tensor as far as shapes are concerned."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
