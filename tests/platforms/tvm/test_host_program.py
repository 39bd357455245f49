"""The walker of TVM's host functions: what it reads, what it refuses, and that unwritten output shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tapml_fuzz.platforms.base import BuildSpec, NotSupported  # noqa: E402
from tapml_fuzz.platforms.tvm.gpu import GpuRunner  # noqa: E402
from tapml_fuzz.platforms.tvm.host_steps import Allocate, Branch, HostFunction, Launch, Let, Loop  # noqa: E402
from tapml_fuzz.platforms.tvm.native import TvmLlvm  # noqa: E402
from tapml_fuzz.platforms.tvm.targets import TARGETS  # noqa: E402
from tests.platforms.operators import SOFTMAX, A, B, DType, Product, X, Y, add, aten, case  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Paper(GpuRunner):
    """A GPU made of paper: buffers are numpy arrays, a launch is noted and writes nothing."""

    def __init__(self) -> None:
        self.row = TARGETS["tvm-opencl"]
        self.target = tvm.target.Target(self.row.options())
        self.launched: list[Any] = []

    def compile_source(self, host: Any) -> dict[str, Any]:
        return dict.fromkeys(host.kernels)

    def upload(self, array: Any) -> Any:
        return array.copy()

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Any:
        return buffer.reshape(shape)

    def launch(self, pipeline: Any, host: Any, launch: Any) -> None:
        self.launched.append(launch)

    def finish(self) -> None:
        return None


def spec(operator: Any, **sizes: int) -> BuildSpec:
    return BuildSpec(operator, operator.dtypes, sizes)


def test_extents_follow_the_shapes() -> None:
    paper = Paper()
    build = paper.build(spec(SOFTMAX))
    for a in (1, 5, 300):
        paper.launched.clear()
        given = case(SOFTMAX, a=a, b=7)
        paper.run(build, given.tensors, given.layouts, given.sizes)
        assert paper.launched[0].grid[0] == a  # one block per row
        assert a in paper.launched[0].scalars or 7 in paper.launched[0].scalars


def test_launch_without_blocks_is_left_out() -> None:
    paper = Paper()
    build = paper.build(spec(add()))
    given = case(add(), a=0, b=7)
    assert paper.run(build, given.tensors, given.layouts, given.sizes).outputs[0].shape == (0, 7)
    assert paper.launched == []


def test_kernels_that_write_nothing_are_caught() -> None:
    paper = Paper()
    build = paper.build(spec(add()))
    given = case(add(), a=3, b=7)
    assert paper.run(build, given.tensors, given.layouts, given.sizes).unwritten == (21,)


def test_llvm_function_that_writes_nothing_is_caught() -> None:
    llvm = TvmLlvm()
    assert llvm.activate().available
    build = llvm.build(spec(add()))
    idle = dataclasses.replace(build, functions=dict.fromkeys(build.functions, lambda *arguments: None))
    given = case(add(), a=3, b=7)
    assert llvm.run(build, given.tensors, given.layouts, given.sizes).unwritten == (0,)
    assert llvm.run(idle, given.tensors, given.layouts, given.sizes).unwritten == (21,)


def test_llvm_function_that_writes_its_input_is_caught() -> None:
    llvm = TvmLlvm()
    llvm.activate()
    build = llvm.build(spec(add()))

    def scribble(first: Any, second: Any, out: Any) -> None:
        second.copyfrom(np.zeros((3, 7), np.float32))
        out.copyfrom(np.zeros((3, 7), np.float32))

    bad = dataclasses.replace(build, functions=dict.fromkeys(build.functions, scribble))
    given = case(add(), a=3, b=7)
    assert llvm.run(bad, given.tensors, given.layouts, given.sizes).mutated == (1,)


def test_several_functions_with_a_temporary_run_in_order() -> None:
    """softmax's gradient is lowered to three functions, a product and a sum feeding the last."""
    paper = Paper()
    operator = aten(
        "_softmax_backward_data.default", [X, Y, -1, DType("float32")], [(A, B), (A, B)], ("float32", "float32")
    )
    build = paper.build(spec(operator))
    given = case(operator, a=4, b=9)
    outputs = paper.run(build, given.tensors, given.layouts, given.sizes).outputs
    first = paper.launched[: len(paper.launched) // 2]  # the second half is the run with the other poison
    assert [launch.kernel for launch in first] == [f"{call.function}_kernel" for call in build.program.calls]
    assert len(first) >= 2
    assert any(np.shares_memory(a, b) for a in first[0].buffers for b in first[-1].buffers)
    assert outputs[0].shape == (4, 9)


def test_several_kernels_of_one_function_run_in_order() -> None:
    """Sorting takes several kernels and temporaries, one of its parameters at a symbolic offset."""
    paper = Paper()
    operator = aten("sort.default", [X], [(A, B)])
    build = paper.build(spec(operator, a=4, b=300))
    given = case(operator, a=4, b=300)
    paper.run(build, given.tensors, given.layouts, given.sizes)
    (sort,) = [f for f in build.host.functions.values() if any(isinstance(step, Allocate) for step in f.steps)]
    kernels = [step.kernel for step in sort.steps if isinstance(step, Launch)]
    assert len(kernels) >= 2
    assert [launch.kernel for launch in paper.launched][: len(kernels)] == kernels


def test_host_local_memory_for_a_kernel_is_refused() -> None:
    """TVM's cumsum over a leading axis hands kernels memory of the host: nothing may be computed from that."""
    operator = aten("cumsum.default", [X, 0], [(A, B)])
    with pytest.raises(NotSupported, match="scope local"):
        Paper().build(spec(operator, a=64, b=8))


def test_steps_are_interpreted() -> None:
    """A loop, a branch, a temporary and a scalar, written by hand."""
    n, m, i = (tvm.tirx.Var(name, "int64") for name in "nmi")
    launch = Launch("k", ("t",), (lambda s: s[i],), (("blockIdx.x", lambda s: s[m]), ("threadIdx.x", lambda s: 8)))
    steps = (
        Let(m, lambda s: s[n] * 2),
        Allocate("t", (lambda s: s[m],), "float32"),
        Loop(i, lambda s: 1, lambda s: s[n], (Branch(lambda s: s[i] != 2, (launch,), ()),)),
    )
    allocated: list[tuple[tuple[int, ...], str]] = []

    def allocate(shape: tuple[int, ...], dtype: str) -> str:
        allocated.append((shape, dtype))
        return "buffer"

    function = HostFunction("f", [n], steps=steps)
    ready = list(function.launches([3], allocate))
    assert allocated == [((6,), "float32")]
    assert [launch.scalars for launch in ready] == [(1,), (3,)]
    assert ready[0].grid == (6, 1, 1)
    assert ready[0].block == (8, 1, 1)
    assert ready[0].buffers == ("buffer",)


def test_shape_that_contradicts_the_program_is_refused() -> None:
    llvm = TvmLlvm()
    llvm.activate()
    build = llvm.build(spec(add()))
    tensors = (np.zeros((3, 7), np.float32), np.zeros((4, 7), np.float32))
    with pytest.raises(ValueError, match=r"input 1 has shape \(4, 7\), built for \(3, 7\)"):
        llvm.run(build, tensors, ("contiguous",) * 2, {"a": 3, "b": 7})


def test_outputs_that_are_their_inputs_need_no_kernel() -> None:
    merge = aten("view.default", [X, [Product(("a", "b"))]], [(A, B)])
    paper = Paper()
    build = paper.build(spec(merge))
    given = case(merge, a=3, b=4)
    np.testing.assert_array_equal(
        paper.run(build, given.tensors, given.layouts, given.sizes).outputs[0], given.tensors[0].reshape(12)
    )
