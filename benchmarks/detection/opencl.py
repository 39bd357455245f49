"""OpenCL C kernels as numpy functions, run through pyopencl on the first device there is (PoCL comes by pip).

A kernel's source names the dtype of a call's first array `T` and reads and writes it by `LOAD(p, i)` and
`STORE(p, i, value)`, which compute in float32 for half precision and round once. Its host function has what a C host
program has: buffers, which it fills, poisons and reads back, and launches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from benchmarks.detection.model import Fault
from tapml_fuzz.core.dtypes import Array, to_bits

Buffer = Any
Host = Callable[..., Array]

# OpenCL C lets a compiler contract a * b + c unless told otherwise (6.12.2).
_HEAD = """
#pragma OPENCL FP_CONTRACT OFF
#define GLOBAL get_global_id
#define LOCAL get_local_id
#define GROUP get_group_id
"""
_PLAIN = """
#define T {T}
#define LOAD(p, i) ((p)[i])
#define STORE(p, i, value) ((p)[i] = (value))
"""
_HALF = """
#define T half
#define LOAD(p, i) vload_half(i, p)
#define STORE(p, i, value) vstore_half_rte(value, i, p)
"""
_BFLOAT = """
#define T ushort
#define LOAD(p, i) as_float((uint)(p)[i] << 16)
#define STORE(p, i, value) ((p)[i] = to_bfloat16(value))
ushort to_bfloat16(float value) {
    uint bits = as_uint(value);
    return isnan(value) ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
"""
_PREAMBLES = {
    "float16": _HALF,
    "bfloat16": _BFLOAT,
    **{
        name: _PLAIN.format(T=spelled)
        for name, spelled in (
            ("float32", "float"), ("int64", "long"), ("int32", "int"), ("int8", "char"), ("uint8", "uchar"),
        )
    },
}  # fmt: skip
# NaN in every floating dtype, an unlikely number in the others.
_NAN, _ODD = 0xFF, 0x7E
# Zeros behind the data of every buffer: an allocator's rounding up, and no buffer is empty (clCreateBuffer).
_PADDING = 256


def ceil_div(count: int, size: int) -> int:
    return -(-count // size)


def elements(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


@dataclass(frozen=True)
class OpenCLKernel:
    """OpenCL C source with its host function `host(device, *args)`; call it on a recorded call's arguments.

    Built on the first call in a process for each dtype `T`.
    """

    source: str
    host: Host
    _built: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    def but(self, snippet: str, replacement: str) -> OpenCLKernel:
        """The same kernel with one snippet of its source replaced, which must occur exactly once."""
        if self.source.count(snippet) != 1:
            raise ValueError(f"{snippet!r} occurs {self.source.count(snippet)} times")
        return OpenCLKernel(self.source.replace(snippet, replacement), self.host)

    def hosted(self, host: Host) -> OpenCLKernel:
        """The same source with another host function."""
        return OpenCLKernel(self.source, host)

    def __call__(self, *args: Any) -> Array:
        dtype = next(a.dtype.name for a in args if isinstance(a, np.ndarray))
        with _LOCK:
            if dtype not in self._built:
                self._built[dtype] = _driver().build(_HEAD + _PREAMBLES[dtype] + self.source)
            return self.host(Device(_driver(), self._built[dtype]), *args)


def planted(name: str, subject: str, correct: OpenCLKernel, faulty: OpenCLKernel, **about: Any) -> Fault:
    """A fault in an OpenCL kernel. Nothing is permitted beyond IEEE: builtins are as accurate as others'."""
    return Fault(
        name, subject, faulty, correct, written="opencl", arrays="numpy", needs=("pyopencl",), strided=False, **about
    )


# A call that is given up (a timeout) may still be at work when the next one comes, and kernels keep their arguments.
_LOCK = Lock()


class Device:
    """What a host function works with: the device, and the kernels of its program by name."""

    def __init__(self, driver: _Driver, kernels: dict[str, Any]) -> None:
        self._driver, self._kernels = driver, kernels

    def put(self, array: Array) -> Buffer:
        """A buffer that holds the array, packed."""
        return self._driver.filled(to_bits(np.ascontiguousarray(array)).tobytes())

    def new(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """A poisoned buffer."""
        dtype = np.dtype(dtype)
        poison = _ODD if dtype.kind in "iub" else _NAN
        return self._driver.filled(bytes([poison]) * (elements(shape) * dtype.itemsize))

    def get(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> Array:
        """What a buffer holds."""
        array = np.empty(shape, dtype)
        if array.size:
            self._driver.read(array.reshape(-1).view(np.uint8), buffer)
        return array

    def run(self, name: str, groups: tuple[int, ...], block: tuple[int, ...], *arguments: Buffer | int | float) -> None:
        """Launch so many work-groups, none being fine; numbers are passed as `int` and `float`."""
        if all(groups):
            self._driver.launch(self._kernels[name], tuple(g * b for g, b in zip(groups, block, strict=True)), block,
                                tuple(map(_scalar, arguments)))  # fmt: skip


def _scalar(argument: Buffer | int | float) -> Any:
    if isinstance(argument, int | np.integer):
        return np.int32(argument)
    return np.float32(argument) if isinstance(argument, float) else argument


class _Driver:
    """One device with one queue for every kernel."""

    def __init__(self) -> None:
        import pyopencl as cl

        device = next(device for platform in cl.get_platforms() for device in platform.get_devices())
        self._cl, self._context = cl, cl.Context([device])
        self._queue = cl.CommandQueue(self._context)
        self._options = ["-cl-std=CL1.2"]
        if device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
            self._options.append("-cl-fp32-correctly-rounded-divide-sqrt")

    def build(self, source: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyopencl warns when a compiler has anything to say
            program = self._cl.Program(self._context, source).build(self._options)
        return {kernel.function_name: kernel for kernel in program.all_kernels()}

    def filled(self, data: bytes) -> Buffer:
        flags = self._cl.mem_flags
        return self._cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=data + bytes(_PADDING))

    def read(self, array: Array, buffer: Buffer) -> None:
        self._cl.enqueue_copy(self._queue, array, buffer, is_blocking=True)

    def launch(self, kernel: Any, extents: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        kernel.set_args(*arguments)
        self._cl.enqueue_nd_range_kernel(self._queue, kernel, extents, block)


@cache
def _driver() -> _Driver:
    return _Driver()
