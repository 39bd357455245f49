"""TVM's OpenCL kernels, run through pyopencl on any installed OpenCL device (PoCL comes by pip)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of, numpy_dtype
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import Info, Reproducer
from tapml_fuzz.platforms.compute_source import compute_source
from tapml_fuzz.platforms.device_tensors import on_device
from tapml_fuzz.platforms.devices.opencl import OpenCLDevice
from tapml_fuzz.platforms.devices.opencl_reproducer import HELPERS
from tapml_fuzz.platforms.python_source import parameters, text_block
from tapml_fuzz.platforms.tvm.gpu import DeviceTensor, GpuBuild, GpuRunner
from tapml_fuzz.platforms.tvm.host_program import HostProgram
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch
from tapml_fuzz.platforms.tvm.launch_script import LaunchRecorder
from tapml_fuzz.platforms.tvm.lowering import Program
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin

_HOST = 1  # DLPack's number for the processor
_ALIGNMENT = 64  # bytes; the widest vector of TVM's kernels is half of that


class _HostTensor(DeviceTensor):
    """A buffer of a device that is the processor, by DLPack."""

    device: OpenCLDevice

    def __dlpack_device__(self) -> tuple[int, int]:
        return _HOST, 0

    def __dlpack__(self, **how: Any) -> Any:
        return self.device.view(*self).__dlpack__(**how)


class TvmOpenCL(GpuRunner):
    """Apache TVM, target `opencl`."""

    name = "tvm-opencl"
    row = TARGETS["tvm-opencl"]

    def activate(self) -> Info:
        """See `base.Platform.activate`; a block has at most 256 threads, or fewer where the device says so."""
        tvm, _ = begin(self.row, own_runtime=False)
        self._device = OpenCLDevice()
        self.target_options = self.row.options(max_num_threads=min(256, self._device.group_size))
        self.target = tvm.target.Target(self.target_options)
        return Info(
            self.name,
            True,
            device=self._device.description,
            versions={"apache-tvm": str(tvm.__version__), **self._device.versions},
            capabilities=Capabilities(self._device.dtypes),
            policy=self.row.policy,
        )

    def compile_source(self, host: HostProgram) -> dict[str, Any]:
        """The OpenCL kernels by name, of one program; see `GpuRunner.compile_source`."""
        return self._device.kernels(host.source, host.kernels)

    def spelled(self, program: Program, host: HostProgram, shapes: Sequence[tuple[int, ...]]) -> Reproducer:
        """The program's source and its launches on pyopencl; see `GpuRunner.spelled`."""
        kernels = {name: f"kernel_{number}" for number, name in enumerate(host.kernels)}

        def spell(launch: ReadyLaunch) -> str:
            dtypes = host.kernels[launch.kernel].scalars
            scalars = [f"np.{dtype}({value!r})" for dtype, value in zip(dtypes, launch.scalars, strict=True)]
            given = "".join(f", {argument}" for argument in (*launch.buffers, *scalars))
            return f"launch({kernels[launch.kernel]}, {_extents(launch)}, {launch.block}{given})"

        steps = LaunchRecorder(spell)
        outputs = steps.record(program, host, shapes, [f"x{slot}" for slot in range(len(shapes))])
        prologue = ["program = cl.Program(context, SOURCE).build()"] if kernels else []
        prologue += [f"{variable} = cl.Kernel(program, {name!r})" for name, variable in kernels.items()]
        source = f"# As TVM generated it for this device.\nSOURCE = {text_block(host.source)}\n\n" if kernels else ""
        return Reproducer(
            ("import pyopencl as cl",),
            source + HELPERS + compute_source(parameters(len(shapes)), prologue, steps.lines, outputs),
        )

    def adopt(self, tensor: Any) -> DeviceTensor | None:
        """A tensor in the host's memory, where the device is the processor: PoCL computes on it as it is. Else None."""
        if not self._device.on_host or 0 in tensor.shape or not on_device(tensor, _HOST, 0):
            return None
        array = _array(tensor)
        if array is None or array.ctypes.data % _ALIGNMENT:
            return None
        return DeviceTensor(self._device.over(array), array.shape, name_of(array))

    def compute(self, build: GpuBuild, tensors: Sequence[DeviceTensor], sizes: Mapping[str, int]) -> list[DeviceTensor]:
        """See `GpuRunner.compute`; where the device is the processor, outputs offer their memory through DLPack."""
        outputs = super().compute(build, tensors, sizes)
        return [self._offered(output) for output in outputs]

    def _offered(self, tensor: DeviceTensor) -> DeviceTensor:
        """The tensor with DLPack's two methods, where there is a way to have its memory without a copy."""
        if not self._device.on_host or 0 in tensor.shape or tensor.dtype == "bfloat16":  # numpy exports no bfloat16
            return tensor
        offered = _HostTensor(*tensor)
        offered.device = self._device
        return offered

    def upload(self, array: Array) -> Any:
        """See `OpenCLDevice.upload`."""
        return self._device.upload(array)

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """See `OpenCLDevice.download`."""
        return self._device.download(buffer, shape, dtype)

    def launch(self, pipeline: Any, host: HostProgram, launch: ReadyLaunch) -> None:
        """Enqueue the kernel over work items, with scalars of the dtypes that its signature names."""
        dtypes = host.kernels[launch.kernel].scalars
        scalars = [numpy_dtype(dtype).type(value) for dtype, value in zip(dtypes, launch.scalars, strict=True)]
        self._device.launch(pipeline, _extents(launch), launch.block, (*launch.buffers, *scalars))

    def finish(self) -> None:
        """See `OpenCLDevice.finish`."""
        self._device.finish()


def _extents(launch: ReadyLaunch) -> tuple[int, ...]:
    """OpenCL counts work items where TVM counts blocks."""
    return tuple(g * b for g, b in zip(launch.grid, launch.block, strict=True))


def _array(tensor: Any) -> Array | None:
    """A tensor of the host's as a packed array, without a copy if it is one; None where numpy has no such dtype."""
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).reshape(tensor.shape)
    if hasattr(tensor, "detach"):
        from tapml_fuzz.operators.invoke import to_numpy

        return to_numpy(tensor)
    try:
        array = np.from_dlpack(tensor)
        return np.ascontiguousarray(array).reshape(array.shape)
    except (BufferError, RuntimeError, TypeError, ValueError):
        return None
