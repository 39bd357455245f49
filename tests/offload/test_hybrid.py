"""Hybrid runs: the reference run again, bit for bit, and tensors that follow their steps."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from tapml_fuzz.core.dtypes import numpy_dtype
from tapml_fuzz.core.operator import Product
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid, Site, Traffic
from tapml_fuzz.offload.recording import last_uses
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.base import BuildSpec, NotSupported, info_of
from tapml_fuzz.platforms.device_tensors import OnHost, resident
from tapml_fuzz.platforms.devices.opencl import OpenCLDevice
from tapml_fuzz.platforms.onnx.onnxruntime import OnnxRuntimeCpu
from tapml_fuzz.platforms.torch.eager import TorchCpu
from tapml_fuzz.platforms.tvm.native import TvmLlvm
from tapml_fuzz.platforms.tvm.opencl import TvmOpenCL
from tapml_fuzz.platforms.tvm.targets import TARGETS
from tapml_fuzz.platforms.tvm.webgpu import TvmWebGPU
from tests.platforms.operators import SUB, A, B, X, aten, case


def test_everything_on_the_source_is_the_source_run(subject: Subject, hybrid: Hybrid) -> None:
    check = subject.check(hybrid, {})
    assert [g for g in check.grown if g.ratio > 0] == []
    assert check.view.cosine == pytest.approx(1, abs=1e-12)


def test_everything_on_the_target_stays_within_what_rounding_may_cause(subject: Subject, hybrid: Hybrid) -> None:
    check = subject.check(hybrid, dict.fromkeys(subject.operators, "tvm-llvm"))
    ratios = [g.ratio for g in check.grown]
    assert 0 < max(ratios) < 0.5, check.worst
    assert all(traffic.copied == {} for traffic in check.traffic), "one device: tensors change hands without a copy"


def test_a_mixed_graph_hands_tensors_over_without_copies(subject: Subject, hybrid: Hybrid) -> None:
    keys = sorted(subject.operators)
    check = subject.check(hybrid, dict.fromkeys(keys[::2], "tvm-llvm"))
    assert not check.failed
    assert sum(traffic.shared for traffic in check.traffic) > 10


def test_a_platform_that_keeps_nothing_copies_and_counts(subject: Subject) -> None:
    assert isinstance(resident(OnnxRuntimeCpu()), OnHost)
    recording = subject.recordings[0]
    key = next(s.operator.key for s in recording.steps if s.operator.short_name == "softmax")
    with Hybrid(Site("torch-cpu"), Site("onnxruntime-cpu")) as both:
        traffic = Traffic()
        outputs = both.run(recording, {key: "onnxruntime-cpu"}, traffic=traffic)
    softmax = next(s for s in recording.steps if s.operator.key == key)
    assert traffic.copied["torch-cpu", "onnxruntime-cpu"] == to_numpy(recording.tensor(softmax.inputs[0])).nbytes
    np.testing.assert_allclose(outputs[0], recording.tensor(recording.outputs[0]).numpy(), rtol=1e-4, atol=1e-5)
    assert len(traffic.seconds) == len(recording.steps)


def test_what_does_not_run_says_which_step(subject: Subject) -> None:
    class Broken(OnnxRuntimeCpu):
        name = "broken"

        def run(self, *arguments: object, **named: object) -> object:  # type: ignore[override]
            raise RuntimeError("no")

    key = subject.recordings[0].steps[0].operator.key
    with (
        Hybrid(Site("torch-cpu"), Site("broken", Broken())) as both,
        pytest.raises(CannotRun, match=r"on broken: .*no") as stop,
    ):
        both.run(subject.recordings[0], {key: "broken"})
    assert not stop.value.refused


def test_what_a_platform_does_not_take_is_no_fault_of_it(subject: Subject) -> None:
    """A tensor that it cannot hold (WGSL has no 64-bit integers) as well as a call."""

    class Narrow(TorchCpu):
        name = "narrow"

        def adopt(self, tensor: object) -> None:
            return None

        def place(self, array: object) -> object:
            raise NotSupported("too wide")

    key = subject.recordings[0].steps[0].operator.key
    with Hybrid(Site("torch-cpu"), Site("narrow", Narrow())) as both, pytest.raises(CannotRun) as stop:
        both.run(subject.recordings[0], {key: "narrow"})
    assert stop.value.refused
    assert "too wide" in str(stop.value)


def test_values_are_forgotten_after_their_last_use_and_never_before(subject: Subject) -> None:
    recording = subject.recordings[0]
    gone: set[str] = set()
    for step, names in zip(recording.steps, last_uses(recording), strict=True):
        assert not gone & {*step.inputs}
        gone |= set(names)
    assert not gone & set(recording.outputs)
    assert set(recording.values) <= gone | set(recording.outputs)


def test_torch_and_tvm_share_one_memory() -> None:
    pytest.importorskip("tvm")
    ours, theirs = Site("torch-cpu"), Site("tvm-llvm")
    tensor = torch.arange(64.0).reshape(8, 8)
    adopted = theirs.adopt(tensor)
    assert adopted is not None
    tensor[0, 0] = 7
    assert theirs.fetch(adopted)[0, 0] == 7
    back = ours.adopt(adopted)
    assert back is not None
    assert back.data_ptr() == tensor.data_ptr()


def opencl_on_the_processor() -> TvmOpenCL:
    platform = TvmOpenCL()
    info = info_of(platform)
    if not info.available:
        pytest.skip(f"tvm-opencl: {info.reason}")
    if not OpenCLDevice().on_host:
        pytest.skip(f"tvm-opencl: {info.device} has memory of its own")
    return platform


def test_opencl_on_the_processor_computes_on_the_source_s_memory_and_hands_out_its_own() -> None:
    platform, source = opencl_on_the_processor(), TorchCpu()
    given = case(SUB, a=40, b=30)
    build = platform.build(BuildSpec(given.operator, given.dtypes, {}))
    ours = [torch.from_numpy(array).clone() for array in given.tensors]
    theirs = [platform.adopt(tensor) for tensor in ours]
    assert all(theirs)
    ours[0] += 1  # seen there: it is the same memory
    (output,) = platform.compute(build, theirs, given.sizes)
    back = source.adopt(output)
    assert back is not None
    assert source.adopt(output).data_ptr() == back.data_ptr(), "no copy"
    del output, theirs
    gc.collect()
    torch.testing.assert_close(back, ours[0] - ours[1])
    again = platform.adopt(back)
    assert again is not None
    np.testing.assert_array_equal(platform.fetch(again), back.numpy())


def test_a_view_of_adopted_memory_outlives_whoever_gave_it() -> None:
    platform, source = opencl_on_the_processor(), TorchCpu()
    flatten = aten("view.default", [X, [Product(("a", "b"))]], [(A, B)])
    given = torch.full((1 << 10, 1 << 10), 7.0)
    adopted = platform.adopt(given)
    assert adopted is not None
    build = platform.build(BuildSpec(flatten, ("float32",), {}))
    (output,) = platform.compute(build, [adopted], {"a": 1 << 10, "b": 1 << 10})
    back = source.adopt(output)
    assert back is not None
    assert back.data_ptr() == given.data_ptr()
    del given, adopted, output
    gc.collect()
    torch.testing.assert_close(back.sum(), torch.tensor(7.0 * (1 << 20)))


def test_opencl_copies_what_it_cannot_share() -> None:
    platform = opencl_on_the_processor()
    memory = torch.zeros(64)
    start = next(n for n in range(16) if (memory.data_ptr() + 4 * n) % 64)
    assert platform.adopt(memory[start : start + 16]) is None, "not aligned"
    assert platform.adopt(torch.empty(3, 0)) is None
    (output,) = platform.compute(
        platform.build(BuildSpec(SUB, ("bfloat16", "bfloat16"), {})),
        [platform.place(np.ones((2, 3), numpy_dtype("bfloat16"))) for _ in "xy"],
        {"a": 2, "b": 3},
    )
    assert TorchCpu().adopt(output) is None, "numpy exports no bfloat16"
    assert not platform.fetch(output).any()


def test_webgpu_knows_what_views_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of what a kernel gave and of what was placed are fetched without asking the device again."""
    platform = TvmWebGPU()
    info = info_of(platform)
    if not info.available:
        pytest.skip(f"tvm-webgpu: {info.reason}")
    given = case(SUB, a=6, b=4)
    placed = [platform.place(array) for array in given.tensors]
    (output,) = platform.compute(platform.build(BuildSpec(SUB, given.dtypes, {})), placed, given.sizes)
    flatten = platform.build(BuildSpec(aten("view.default", [X, [Product(("a", "b"))]], [(A, B)]), ("float32",), {}))
    expected = given.tensors[0] - given.tensors[1]
    monkeypatch.setattr(type(platform._device._device.queue), "read_buffer", None)
    for tensor, wanted in (output, expected), (placed[0], given.tensors[0]):
        (flat,) = platform.compute(flatten, [tensor], given.sizes)
        np.testing.assert_array_equal(platform.fetch(tensor), wanted)
        np.testing.assert_array_equal(platform.fetch(flat), wanted.reshape(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float64])
def test_every_dtype_and_stride_survives_the_move(dtype: torch.dtype) -> None:
    pytest.importorskip("tvm")
    theirs = Site("tvm-llvm")
    tensor = (torch.arange(24).reshape(4, 6) % 3).to(dtype).t()
    moved = theirs.adopt(tensor)
    if moved is None:
        moved = theirs.place(to_numpy(tensor))
    assert theirs.fetch(moved).tobytes() == to_numpy(tensor).tobytes()


def test_tensors_of_no_elements_reach_tvm_with_the_strides_that_it_checks() -> None:
    pytest.importorskip("tvm")
    given = case(SUB, a=3, b=0)
    platform = TvmLlvm()
    platform.activate()
    build = platform.build(BuildSpec(given.operator, given.dtypes, {}))
    handed = [platform.adopt(torch.empty(3, 0)) for _ in "xy"]
    assert handed == [None, None], "torch says (1, 1), TVM expects (0, 1)"
    placed = [platform.place(np.empty((3, 0), np.float32)) for _ in "xy"]
    assert platform.fetch(platform.compute(build, placed, given.sizes)[0]).shape == (3, 0)
    platform.row = TARGETS["tvm-cuda"]
    with pytest.raises(NotSupported, match="no elements"):
        platform.compute(build, placed, given.sizes)
