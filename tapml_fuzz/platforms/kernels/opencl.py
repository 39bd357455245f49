"""A user's kernel in OpenCL C."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.policy import NO_LIMIT
from tapml_fuzz.platforms.base import BuildRejected, Reproducer
from tapml_fuzz.platforms.compute_source import compute_source
from tapml_fuzz.platforms.devices.opencl import POLICY, OpenCLDevice
from tapml_fuzz.platforms.devices.opencl_reproducer import HELPERS
from tapml_fuzz.platforms.kernels.backend import (
    Compiled,
    HoldsEveryDtype,
    KernelCall,
    LaunchSource,
    TypedNumber,
    c_constants,
)
from tapml_fuzz.platforms.kernels.header import KernelHeader
from tapml_fuzz.platforms.python_source import text_block

_HALF = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable"


class OpenCLKernels(HoldsEveryDtype):
    """See `backend.Backend`. The launch's `global` counts work items, as OpenCL does.

    Without `local` the driver chooses the work group.
    """

    policy = POLICY
    max_elements = NO_LIMIT
    # A bool is a byte, and bfloat16 goes by its bits: OpenCL C has neither in memory (OpenCL C 3.0, 6.3).
    type_names: Mapping[str, str] = {
        "float64": "double", "float32": "float", "float16": "half", "bfloat16": "ushort",
        "int64": "long", "int32": "int", "int16": "short", "int8": "char", "uint8": "uchar", "bool": "uchar",
    }  # fmt: skip

    def __init__(self) -> None:
        self._device = OpenCLDevice()
        self.description, self.versions = self._device.description, self._device.versions
        self.inputs = self.outputs = self._device.dtypes

    def with_constants(self, source: str, constants: Mapping[str, str], dtypes: Iterable[str]) -> str:
        """See `backend.Backend`. Constants are `#define`s; float16 brings the pragma of its extension."""
        return c_constants(constants, source, [_HALF] if "float16" in dtypes else [])

    def compile(self, source: str, header: KernelHeader) -> Compiled:
        """Build the program. Raises `BuildRejected` where the driver refuses it or the number of arguments differs."""
        kernel = self._device.kernels(source, [header.kernel])[header.kernel]
        if kernel.num_args != len(header.arguments):
            said = f"{header.kernel} takes {kernel.num_args} arguments, the header has {len(header.arguments)}"
            raise BuildRejected(said, source)
        return Compiled(kernel, header.buffers)

    def upload(self, array: Array) -> Any:
        """An OpenCL buffer with the array's contents."""
        return self._device.upload(array)

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's contents as a packed array; waits for the launches before."""
        return self._device.download(buffer, shape, dtype)

    def launch(self, compiled: Compiled, call: KernelCall, buffers: Mapping[str, Any]) -> None:
        """Enqueue the kernel over the `global` extents, in work groups of `local` where the header has it."""
        extents, group = call.extents["global"], call.extents.get("local")
        self._device.launch(compiled.kernel, extents, group, call.filled(buffers))

    def finish(self) -> None:
        """Wait for the launch. Raises what pyopencl raises when it failed."""
        self._device.finish()

    def reproducer(self, source: str, header: KernelHeader, call: KernelCall, steps: LaunchSource) -> Reproducer:
        """See `backend.Backend.reproducer`; the script needs pyopencl."""
        given = [a.spelled() if isinstance(a, TypedNumber) else steps.buffers[a] for a in call.arguments]
        launch = f"launch(kernel, {call.extents['global']}, {call.extents.get('local')}, {', '.join(given)})"
        return Reproducer(
            ("import pyopencl as cl",),
            f"SOURCE = {text_block(source)}\n\n{HELPERS}"
            + compute_source(
                steps.given,
                [f"kernel = cl.Kernel(cl.Program(context, SOURCE).build(), {header.kernel!r})"],
                [*steps.lines, *([] if call.empty else [launch])],
                steps.outputs,
            ),
        )
