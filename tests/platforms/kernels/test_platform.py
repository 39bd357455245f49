"""Kernel files as platforms: OpenCL C and WGSL run here; of CUDA C everything but the launch."""

from __future__ import annotations

import ast
import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from tapml_fuzz.core.errors import BadKernel, UnknownPlatform
from tapml_fuzz.core.outcome import BuildError, Built, Ok, RunError, Timeout, Unsupported
from tapml_fuzz.platforms.base import BuildRejected
from tapml_fuzz.platforms.devices.opencl import OpenCLDevice
from tapml_fuzz.platforms.kernels.backend import KernelCall, LaunchSource, TypedNumber, call_of
from tapml_fuzz.platforms.kernels.cuda import CudaKernels, complaint, packed
from tapml_fuzz.platforms.kernels.header import KernelHeader, parse
from tapml_fuzz.platforms.kernels.scope import CallScope
from tapml_fuzz.platforms.poison import poisoned
from tapml_fuzz.platforms.registry import load, location
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.session import Session
from tests.conformance import checks
from tests.platforms.kernel_sources import COPY_CL, EMBEDDING_WGSL, KERNELS, TRANSPOSE_CL, TRANSPOSE_WGSL
from tests.platforms.operators import LAYER_NORM, MINILM, SOFTMAX, SUB, A, B, C, X, Y, Z, aten, case, clone

Opened = Callable[[str, str], Session]
NORM = msgspec.structs.replace(LAYER_NORM, axes=((A, B, C), (C,), (C,)), args=(X, [C], Y, Z, 1e-5), outputs=(0,))
PERMUTE = aten("permute.default", [X, [1, 0]], [(A, B)])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """A session on a kernel file with this text, in this process: a worker for each would take its time."""
    sessions: list[Session] = []

    def open_(name: str, text: str) -> Session:
        path = tmp_path / name
        path.write_text(text)
        session = InProcessSession(f"user:{path}")
        sessions.append(session)
        if not session.info().available:
            pytest.skip(f"{name}: {session.info().reason}")
        return session

    yield open_
    for session in sessions:
        session.close()


def agrees(session: Session, given: checks.Case, tolerance: float = 1e-5) -> None:
    for actual, wanted in zip(checks.outputs(session, given), checks.expected(given), strict=True):
        checks.agree(actual, wanted, tolerance)


def test_softmax_in_opencl_serves_every_shape_from_one_build(opened: Opened) -> None:
    session = opened("softmax.cl", (KERNELS / "softmax.cl").read_text())
    checks.computes_softmax(session)
    for sizes in ({"a": 0, "b": 5}, {"a": 5, "b": 0}, {"a": 2, "b": 1000}):
        agrees(session, case(SOFTMAX, **sizes))
    assert session.builds == 1
    checks.repeats_itself(session)
    checks.says_what_it_is(session)
    assert isinstance(session.run(case(SUB, a=2, b=3)), Unsupported)
    assert session.info().operators == ("aten._softmax.default",)


def test_layer_norm_in_wgsl_agrees(opened: Opened) -> None:
    session = opened("layer_norm.wgsl", (KERNELS / "layer_norm.wgsl").read_text())
    for sizes in ({"a": 1, "b": 1, "c": 1}, {"a": 3, "b": 5, "c": 131}, {"a": 0, "b": 2, "c": 3}):
        agrees(session, case(NORM, **sizes))
    assert session.builds == 1
    checks.says_what_it_is(session)
    eps = msgspec.structs.replace(NORM, args=(X, [C], Y, Z, 3.0))
    agrees(session, case(eps, a=2, b=3, c=7))  # the kernel takes it from the operator


def test_layer_norm_in_wgsl_launches_more_rows_than_a_dimension_holds() -> None:
    header = parse(KERNELS / "layer_norm.wgsl", (KERNELS / "layer_norm.wgsl").read_text())
    assert isinstance(header, KernelHeader)
    call = call_of(header, CallScope(NORM, ("float32",) * 3, {"a": 2, "b": 33000, "c": 2}))
    assert call.extents == {"workgroups": (65535, 2)}
    assert [scalar.value for scalar in call.scalars] == [66000, 2, 1e-5]


def test_opencl_echoes_every_dtype(opened: Opened) -> None:
    session = opened("transpose.cl", TRANSPOSE_CL)
    assert "float64" in checks.claimed(session)
    checks.echoes_every_dtype_bit_for_bit(session)


def test_wgsl_echoes_every_dtype_and_narrows_nothing_unasked(opened: Opened) -> None:
    session = opened("transpose.wgsl", TRANSPOSE_WGSL)
    assert {"float32", "int32"} <= set(checks.claimed(session))
    checks.echoes_every_dtype_bit_for_bit(session)
    assert isinstance(session.run(case(aten("permute.default", [X, [1, 0]], [(A, B)], "int64"), a=2, b=3)), Unsupported)


def test_wgsl_takes_indices_as_32_bits_and_fixes_what_a_constant_needs(opened: Opened) -> None:
    session = opened("gather.wgsl", EMBEDDING_WGSL)
    embedding = MINILM["embedding"]
    for sizes in ({"a": 3, "b": 4, "c": 10, "k": 6}, {"a": 1, "b": 2, "c": 3, "k": 6}):
        agrees(session, case(embedding, **sizes), 0)
    assert session.builds == 1
    agrees(session, case(embedding, a=3, b=4, c=10, k=5), 0)
    assert session.builds == 2
    given = case(embedding, a=1, b=1, c=4, k=6)
    wide = given.with_tensors((given.tensors[0], np.array([[2**32]])))
    assert session.run(wide) == Unsupported("an int64 value exceeds 32 bits, and WGSL has no int64")


def test_tail_that_is_not_launched_is_unwritten(opened: Opened) -> None:
    whole = opened("whole.cl", COPY_CL)
    agrees(whole, case(clone(), a=10, b=13), 0)
    lookalike = poisoned((4, 4), "int32")
    np.testing.assert_array_equal(
        checks.outputs(whole, checks.Case(clone("int32"), {"a": 4, "b": 4}, (lookalike,)))[0], lookalike
    )
    short = opened("short.cl", COPY_CL.replace("64 * ceildiv(numel(out0), 64)", "64 * (numel(out0) // 64)"))
    outcome = short.run(case(clone(), a=10, b=13))
    assert isinstance(outcome, Ok)
    assert outcome.unwritten == (130 % 64,)
    none = short.run(case(clone(), a=3, b=5))  # nothing is launched at all
    assert isinstance(none, Ok)
    assert none.unwritten == (15,)


def test_input_that_is_written_to_is_told(opened: Opened) -> None:
    outcome = opened("mutating.cl", COPY_CL.replace("out[i] = x[i];", "out[i] = x[i], x[i] = 0;")).run(
        case(clone(), a=2, b=3)
    )
    assert isinstance(outcome, Ok)
    assert outcome.mutated == (0,)


def test_input_that_a_shader_writes_to_is_told(opened: Opened) -> None:
    text = TRANSPOSE_WGSL.replace("storage, read>", "storage, read_write>").replace("}\n", "    x[0] = x[0] + 1; }\n")
    outcome = opened("mutating.wgsl", text.replace("n: i32     x[0] = x[0] + 1; }", "n: i32 }")).run(
        case(PERMUTE, a=1, b=2)
    )
    assert isinstance(outcome, Ok)
    assert outcome.mutated == (0,)


def test_compiler_that_refuses_gives_source_and_line(opened: Opened) -> None:
    outcome = opened("broken.cl", COPY_CL.replace("x[i];", "y[i];")).run(case(clone(), a=2, b=3))
    assert isinstance(outcome, BuildError)
    assert re.search(r"\by\b", outcome.message)
    assert "y[i];" in outcome.source
    if counts_by_line_directives():
        line = COPY_CL[: COPY_CL.index("x[i];")].count("\n") + 1  # of the user's file, whatever is defined before it
        assert re.search(rf"\b{line}\b", outcome.message), outcome.message


def counts_by_line_directives() -> bool:
    """Whether the OpenCL compiler of this machine names lines, and as C's `#line` numbers them."""
    with pytest.raises(BuildRejected) as refused:
        OpenCLDevice().kernels("#line 4711\n__kernel void k(__global float *x) { x[0] = y; }\n", ["k"])
    return "4711" in str(refused.value)


def test_shader_that_is_refused_gives_its_source(opened: Opened) -> None:
    outcome = opened("broken.wgsl", TRANSPOSE_WGSL.replace("x[i32", "y[i32")).run(case(PERMUTE, a=2, b=3))
    assert isinstance(outcome, BuildError)
    assert "y" in outcome.message
    assert "y[i32" in outcome.source


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"x0", "out0"', '"x1", "out0"', "there is no x1: .* takes 1 tensors"),
        ('"x0", "out0"', '"x0", "out0", "out1"', "there is no out1: .* has 1 outputs"),
        ("numel(out0)\" }", "c\" }", "there is no axis 'c'; axes of .*: a, b"),
        ("numel(out0)\" }", "a - 100\" }", "scalar n is -93, which is no u32"),
        ('{ name = "n", type = "u32", value = "numel(out0)" }', "", "takes 3 arguments, the header has 2"),
        ("void copied", "void other", "copied|INVALID_KERNEL_NAME"),
    ],
)  # fmt: skip
def test_header_that_does_not_fit_is_a_build_error(opened: Opened, old: str, new: str, said: str) -> None:
    assert old in COPY_CL
    outcome = opened("unfit.cl", COPY_CL.replace(old, new, 1)).run(case(clone(), a=2, b=3))
    assert isinstance(outcome, BuildError)
    assert re.search(said, outcome.message), outcome.message


def test_shader_without_a_binding_is_a_build_error(opened: Opened) -> None:
    outcome = opened("unbound.wgsl", TRANSPOSE_WGSL.replace("@binding(0)", "@binding(3)")).run(case(PERMUTE, a=2, b=3))
    assert isinstance(outcome, BuildError)
    assert outcome.message == "x0 has no `@group(0) @binding(0) var<storage, ...>` in the shader"


def test_launch_that_is_refused_is_a_run_error(opened: Opened) -> None:
    assert isinstance(opened("wide.cl", COPY_CL.replace("[64]", "[1000000]")).run(case(clone(), a=2, b=3)), RunError)
    # The example that a header is tried with when it is built has 7 rows.
    session = opened("negative.cl", COPY_CL.replace("64 * ceildiv(numel(out0), 64)", "64 * (a - 5)"))
    outcome = session.run(case(clone(), a=2, b=3))
    assert isinstance(outcome, RunError)
    assert "launch.global is [-192]" in outcome.message


def test_dispatch_that_is_refused_never_passes_as_a_result(opened: Opened) -> None:
    session = opened("wide.wgsl", TRANSPOSE_WGSL)
    outcome = session.run(case(PERMUTE, a=70000, b=1))
    assert isinstance(outcome, RunError)
    assert "dispatch of (70000, 1, 1) work groups" in outcome.message
    agrees(session, case(PERMUTE, a=7, b=5), 0)


def test_scalars_arrive_with_their_types(opened: Opened) -> None:
    kinds = {"i32": "int", "u32": "uint", "i64": "long", "u64": "ulong", "f32": "float", "f64": "double"}
    values = ["0 - a", "4294967295", "0 - 9007199254740993", "9007199254740993", "argument(1)", "argument(1)"]
    right = ["-6", "4294967295u", "-9007199254740993l", "9007199254740993ul", "0.1f", "0.1"]
    scalars = ", ".join(
        f'{{ name = "s{n}", type = "{kind}", value = "{value}" }}'
        for n, (kind, value) in enumerate(zip(kinds, values, strict=True))
    )
    given = ", ".join(f"const {name} s{n}" for n, name in enumerate(kinds.values()))
    session = opened(
        "scalars.cl",
        '// [tapml_fuzz]\n// operator = "mul"\n// dtypes = ["float64"]\n// kernel = "compared"\n'
        f'// arguments = ["out0", {scalars}]\n// [tapml_fuzz.launch]\n// global = [1]\n'
        f"__kernel void compared(__global double *out, {given}) {{"
        + "".join(f" out[{n}] = s{n} == {value};" for n, value in enumerate(right))
        + " }\n",
    )
    (output,) = checks.outputs(session, case(aten("mul.Tensor", [X, 0.1], [(A,)], "float64"), a=6))
    assert output.tolist() == [1.0] * 6


def test_hang_costs_the_worker_and_nothing_else(opened: Opened, tmp_path: Path) -> None:
    # With n = 7 there is no end; every turn writes, and a compiler knows neither n nor what is volatile away.
    loop = (
        "for (uint turn = n; turn == n; turn += n - 7)\n        ((volatile __global T *)out)[i % n] = x[i % n];\n    "
    )
    text = COPY_CL.replace("if (i < n)", loop + "if (i < n)")
    path = tmp_path / "hanging.cl"
    path.write_text(text)
    with WorkerSession(f"user:{path}", run_timeout=4) as session:
        if not session.info().available:
            pytest.skip(session.info().reason)
        agrees(session, case(clone(), a=2, b=3), 0)
        assert isinstance(session.run(case(clone(), a=1, b=7)), Timeout)
        agrees(session, case(clone(), a=2, b=3), 0)
        assert session.restarts == 1


def test_what_the_device_has_not_is_said(tmp_path: Path, opened: Opened) -> None:
    opened("whole.wgsl", TRANSPOSE_WGSL)
    path = tmp_path / "double.wgsl"
    path.write_text(TRANSPOSE_WGSL.replace('["float32", "float16", "int32"]', '["float64"]'))
    info = InProcessSession(f"user:{path}").info()
    assert (info.available, info.reason) == (False, "the device has no float64")


def test_constants_leave_open_what_they_do_not_use(opened: Opened) -> None:
    session = opened("fixed.cl", COPY_CL.replace('type(out0)"', 'type(out0)"\n// N = "size(x0, 1)"'))
    built = session.build(clone(), ("float32",), {"a": 3, "b": 4})
    assert isinstance(built, Built)
    assert built.symbolic
    agrees(session, case(clone(), a=30, b=4), 0)
    assert session.builds == 1


@pytest.mark.filterwarnings("ignore:Non-empty compiler output")  # Intel's compiler greets whoever calls it
@pytest.mark.parametrize("name", ["softmax.cl", "layer_norm.wgsl"])
def test_script_stands_alone_and_shows_the_same(name: str, opened: Opened) -> None:
    session = opened(name, (KERNELS / name).read_text())
    given = case(SOFTMAX, a=3, b=7) if name == "softmax.cl" else case(NORM, a=2, b=3, c=7)
    reproducer = session.reproducer(given)
    assert reproducer is not None
    assert "tapml_fuzz." not in "\n".join(line for line in reproducer.source.splitlines() if not line.startswith("//"))
    assert reproducer.source.count("    launch(kernel, ") == 1
    nothing = session.reproducer(case(given.operator, **dict.fromkeys(given.sizes, 0)))
    assert nothing is not None
    assert "    launch(kernel, " not in nothing.source
    names: dict[str, Any] = {"np": np, "torch": torch}
    program = "\n".join([*reproducer.imports, reproducer.source])
    exec(compile(program, name, "exec"), names)  # noqa: S102 (the script under test)
    (shown,) = names["compute"](*map(torch.from_numpy, given.tensors))
    np.testing.assert_array_equal(shown.numpy(), checks.outputs(session, given)[0])


def test_cuda_says_what_is_missing_here_and_how_to_get_it() -> None:
    info = InProcessSession(load(location(f"user:{KERNELS / 'softmax.cu'}"))).info()
    if info.available:
        pytest.skip("there is a CUDA device: its own run shows more")
    assert "CUDA" in info.reason
    assert "NVIDIA" in info.hint
    assert info.operators == ("aten._softmax.default",)


def test_cuda_arguments_are_packed_as_the_driver_reads_them() -> None:
    call = KernelCall({}, ("x0", TypedNumber("i32", -5), TypedNumber("i64", 1 << 40), TypedNumber("f32", 0.1)))
    pointers, _kept = packed(call.filled({"x0": 0xDEADBEEF0000}))
    assert ctypes.cast(pointers[0], ctypes.POINTER(ctypes.c_uint64))[0] == 0xDEADBEEF0000
    assert ctypes.cast(pointers[1], ctypes.POINTER(ctypes.c_int32))[0] == -5
    assert ctypes.cast(pointers[2], ctypes.POINTER(ctypes.c_int64))[0] == 1 << 40
    assert ctypes.cast(pointers[3], ctypes.POINTER(ctypes.c_float))[0] == np.float32(0.1)


def test_cuda_source_and_script_are_ready_for_a_device() -> None:
    backend = object.__new__(CudaKernels)  # without a device
    text = (KERNELS / "softmax.cu").read_text()
    header = parse(KERNELS / "softmax.cu", text)
    assert isinstance(header, KernelHeader)
    source = backend.with_constants(text, {"BLOCK": "128", "T": "__half"}, ["float16"])
    assert source.startswith("#include <cuda_fp16.h>\n#define BLOCK 128\n#define T __half\n#line 1\n// Softmax")
    call = KernelCall({"grid": (3,), "block": (128,)}, ("x0", "out0", TypedNumber("i32", 65)))
    reproducer = backend.reproducer(
        source, header, call, LaunchSource("x0", {"x0": "b0", "out0": "b1"}, ["b0 = buffer(x0)"], "[]")
    )
    ast.parse(reproducer.source)
    assert "kernel(grid=(3, 1, 1), block=(128, 1, 1), args=[b0, b1, 65])" in reproducer.source
    said = "Kernel compilation failed:\nsoftmax.cu(3): error: no such type\n      T x;\n      ^\n\n1 error detected"
    assert complaint(said) == "softmax.cu(3): error: no such type"


def test_registry_knows_users_own_and_says_what_is_wrong(tmp_path: Path) -> None:
    assert location(f"user:{KERNELS / 'softmax.cl'}") == (
        f"tapml_fuzz.platforms.kernels.platform:UserKernel?{KERNELS / 'softmax.cl'}"
    )
    assert location(f"user:{KERNELS / 'softmax_triton.py'}").startswith(
        "tapml_fuzz.platforms.kernels.callable:CallableOnCuda?"
    )
    with pytest.raises(BadKernel, match=r"no file .*softmx.cl \(did you mean softmax.cl"):
        location(f"user:{KERNELS / 'softmx.cl'}")
    with pytest.raises(UnknownPlatform, match="neither a kernel file nor a callable"):
        location("user:")
    (tmp_path / "bad.cl").write_text("__kernel void f() {}\n")
    with pytest.raises(BadKernel, match="no line"):
        location(f"user:{tmp_path / 'bad.cl'}")


def test_case_that_does_not_fit_the_operator_fails_in_words(opened: Opened) -> None:
    session = opened("whole.cl", COPY_CL)
    outcome = session.run(checks.Case(clone(), {"a": 2, "b": 3}, (np.ones((5, 4), np.float32),)))
    assert isinstance(outcome, RunError)
    assert "do not fit" in outcome.message


def test_docs_quote_the_example_as_it_is() -> None:
    text = (KERNELS / "softmax.cl").read_text()
    block = text[text.index("// [tapml_fuzz]") : text.index("\n\n")]
    assert f"```c\n{block}\n```" in (KERNELS.parent / "reference" / "kernel-headers.md").read_text()
