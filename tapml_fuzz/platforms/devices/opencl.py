"""One OpenCL device through pyopencl: what it is, and how bytes come and go."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array, numpy_dtype, to_bits
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import BuildRejected, Unavailable

POLICY = Policy(flushes_subnormals=True, accuracy="opencl", source="OpenCL C 3.0, 7.4 (relative error) and 7.5.3")

_HINT = "pip install 'tapml_fuzz[opencl]', or Debian's pocl-opencl-icd"
_ALWAYS = ("float32", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_PADDING = 16  # bytes; OpenCL has no buffer of size zero (clCreateBuffer: CL_INVALID_BUFFER_SIZE)


class _Mapped:
    """A mapped array that keeps its buffer: the buffer alone keeps the memory that it was made `over`."""

    def __init__(self, array: Array, buffer: Any) -> None:
        self._kept = array, buffer
        self.__array_interface__ = array.__array_interface__


class OpenCLDevice:
    """The first device of any installed OpenCL (PoCL comes by pip). Raises `Unavailable` when there is none.

    Attributes:
        cl: the module pyopencl.
        dtypes: names of the dtypes that the device computes in.
        group_size: the most work items of a work group.
        on_host: whether it is the processor, whose buffers are memory like any other.
        description: the names of the device and of its OpenCL platform.
        versions: of pyopencl and of the driver, by name.
    """

    def __init__(self) -> None:
        try:
            import pyopencl as cl
        except (ImportError, OSError) as error:
            raise Unavailable(f"cannot import: {error}", _HINT) from error
        try:
            devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
        except cl.Error as error:
            raise Unavailable(f"no OpenCL platform: {error}", _HINT) from error
        if not devices:
            raise Unavailable("no OpenCL device", _HINT)
        self.cl, device = cl, devices[0]
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.group_size = int(device.max_work_group_size)
        self.on_host = bool(device.type == cl.device_type.CPU and device.host_unified_memory)
        extensions = set(device.extensions.split())
        optional = {"float64": "cl_khr_fp64", "float16": "cl_khr_fp16"}
        self.dtypes = (*_ALWAYS, *(dtype for dtype, extension in optional.items() if extension in extensions))
        self.description = f"{device.name.strip()} ({device.platform.name.strip()})"
        self.versions = {
            "pyopencl": str(cl.VERSION_TEXT),
            "driver": f"{device.version.strip()} {device.driver_version.strip()}",
        }

    def kernels(self, source: str, names: Iterable[str]) -> dict[str, Any]:
        """Kernels of a program by name; raises `BuildRejected` when the driver refuses it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyopencl warns when a compiler has anything to say
            try:
                program = self.cl.Program(self.context, source).build()
                return {name: self.cl.Kernel(program, name) for name in names}
            except self.cl.Error as error:
                raise BuildRejected(f"OpenCL compiler: {str(error)[:600]}", source) from error

    def upload(self, array: Array) -> Any:
        """A buffer with the array's contents; never of zero bytes."""
        flags = self.cl.mem_flags
        if array.size == 0:
            return self.cl.Buffer(self.context, flags.READ_WRITE, _PADDING)
        packed = to_bits(array)
        return self.cl.Buffer(self.context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=packed)

    def over(self, array: Array) -> Any:
        """A buffer that is the memory of a packed array itself, which nobody writes any more. Only where `on_host`."""
        flags = self.cl.mem_flags
        return self.cl.Buffer(self.context, flags.READ_ONLY | flags.USE_HOST_PTR, hostbuf=to_bits(array))

    def view(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's memory as an array, to be read only; waits for the launches before. Only where `on_host`."""
        element = np.dtype(f"uint{8 * numpy_dtype(dtype).itemsize}")
        array, _ = self.cl.enqueue_map_buffer(
            self.queue, buffer, self.cl.map_flags.READ, 0, shape, element, is_blocking=True
        )
        return np.asarray(_Mapped(array, buffer)).view(numpy_dtype(dtype))

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's contents as a packed array of that shape and dtype; waits for the launches before."""
        array = np.empty(shape, np.dtype(f"uint{8 * numpy_dtype(dtype).itemsize}"))
        if array.size:
            self.cl.enqueue_copy(self.queue, array, buffer, is_blocking=True)
        return array.view(numpy_dtype(dtype))

    def launch(
        self, kernel: Any, extents: tuple[int, ...], group: tuple[int, ...] | None, arguments: Iterable[Any]
    ) -> None:
        """Enqueue a kernel over `extents` work items; `group` None leaves the size of a work group to the driver."""
        kernel.set_args(*arguments)
        self.cl.enqueue_nd_range_kernel(self.queue, kernel, extents, group)

    def finish(self) -> None:
        """Wait for every launch."""
        self.queue.finish()
