"""TVM's OpenCL kernels, run through pyopencl on any installed OpenCL device (PoCL comes by pip)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array, numpy_dtype, to_bits
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildRejected, Info, NotSupported, Script, Unit
from tapml_fuzz.platforms.gpu_script import Steps, compute_source
from tapml_fuzz.platforms.host_program import HostProgram, ReadyLaunch
from tapml_fuzz.platforms.opencl_script import HELPERS
from tapml_fuzz.platforms.spelling import parameters, text_block
from tapml_fuzz.platforms.tvm_gpu import GpuBuild, GpuRunner
from tapml_fuzz.platforms.tvm_program import Program

_MEND = "pip install 'tapml_fuzz[opencl]', or Debian's pocl-opencl-icd"
_ALWAYS = ("float32", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_PADDING = 16  # bytes; OpenCL has no buffer of size zero (clCreateBuffer: CL_INVALID_BUFFER_SIZE)


class TvmOpenCL(GpuRunner):
    """Apache TVM, target `opencl`."""

    name = "tvm-opencl"

    def activate(self) -> Info:
        try:
            import pyopencl as cl
            import tvm
        except (ImportError, OSError) as error:
            return Info(self.name, False, f"cannot import: {error}", _MEND)
        if tvm.get_global_func("target.build.opencl", allow_missing=True) is None:
            return Info(self.name, False, "this TVM has no OpenCL code generator", "pip install apache-tvm")
        try:
            devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
        except cl.Error as error:
            return Info(self.name, False, f"no OpenCL platform: {error}", _MEND)
        if not devices:
            return Info(self.name, False, "no OpenCL device", _MEND)
        self._cl, device = cl, devices[0]
        self._context = cl.Context([device])
        self._queue = cl.CommandQueue(self._context)
        threads = min(256, int(device.max_work_group_size))
        self.target_options = {"kind": "opencl", "max_num_threads": threads, "host": {"kind": "llvm"}}
        self.target = tvm.target.Target(self.target_options)
        extensions = set(device.extensions.split())
        dtypes = list(_ALWAYS)
        if "cl_khr_fp64" in extensions:
            dtypes.append("float64")
        if "cl_khr_fp16" in extensions:
            dtypes.append("float16")
        self._dtypes = tuple(dtypes)
        return Info(
            self.name,
            True,
            device=f"{device.name.strip()} ({device.platform.name.strip()})",
            versions={
                "apache-tvm": str(tvm.__version__),
                "pyopencl": str(cl.VERSION_TEXT),
                "driver": f"{device.version.strip()} {device.driver_version.strip()}",
            },
            capabilities=Capabilities(dtypes=self._dtypes, strided=False, symbolic=True),
            policy=Policy(
                flushes_subnormals=True, accuracy="opencl", source="OpenCL C 3.0, 7.4 (relative error) and 7.5.3"
            ),
        )

    def build(self, unit: Unit) -> GpuBuild:
        for dtype in unit.dtypes:
            if dtype not in self._dtypes:
                raise NotSupported(f"the OpenCL device has no {dtype}")
        return super().build(unit)

    def compile_source(self, host: HostProgram) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyopencl warns when a compiler has anything to say
            try:
                program = self._cl.Program(self._context, host.source).build()
                return {name: self._cl.Kernel(program, name) for name in host.kernels}
            except self._cl.Error as error:
                raise BuildRejected(f"OpenCL compiler: {str(error)[:600]}", host.source) from error

    def spelled(self, program: Program, host: HostProgram, shapes: Sequence[tuple[int, ...]]) -> Script:
        kernels = {name: f"kernel_{number}" for number, name in enumerate(host.kernels)}

        def spell(launch: ReadyLaunch) -> str:
            dtypes = host.kernels[launch.kernel].scalars
            scalars = [f"np.{dtype}({value!r})" for dtype, value in zip(dtypes, launch.scalars, strict=True)]
            given = "".join(f", {argument}" for argument in (*launch.buffers, *scalars))
            return f"launch({kernels[launch.kernel]}, {_extents(launch)}, {launch.block}{given})"

        steps = Steps(spell)
        outputs = steps.record(program, host, shapes, [f"x{slot}" for slot in range(len(shapes))])
        prologue = ["program = cl.Program(context, SOURCE).build()"] if kernels else []
        prologue += [f"{variable} = cl.Kernel(program, {name!r})" for name, variable in kernels.items()]
        source = f"# As TVM generated it for this device.\nSOURCE = {text_block(host.source)}\n\n" if kernels else ""
        return Script(
            ("import pyopencl as cl",),
            source + HELPERS + compute_source(parameters(len(shapes)), prologue, steps, outputs),
        )

    def upload(self, array: Array) -> Any:
        flags = self._cl.mem_flags
        if array.size == 0:
            return self._cl.Buffer(self._context, flags.READ_WRITE, _PADDING)
        packed = to_bits(array)
        return self._cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=packed)

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        array = np.empty(shape, np.dtype(f"uint{8 * numpy_dtype(dtype).itemsize}"))
        if array.size:
            self._cl.enqueue_copy(self._queue, array, buffer, is_blocking=True)
        return array.view(numpy_dtype(dtype))

    def launch(self, pipeline: Any, host: HostProgram, launch: ReadyLaunch) -> None:
        dtypes = host.kernels[launch.kernel].scalars
        scalars = [numpy_dtype(dtype).type(value) for dtype, value in zip(dtypes, launch.scalars, strict=True)]
        pipeline.set_args(*launch.buffers, *scalars)
        self._cl.enqueue_nd_range_kernel(self._queue, pipeline, _extents(launch), launch.block)

    def finish(self) -> None:
        self._queue.finish()


def _extents(launch: ReadyLaunch) -> tuple[int, ...]:
    """OpenCL counts work items where TVM counts blocks."""
    return tuple(g * b for g, b in zip(launch.grid, launch.block, strict=True))
