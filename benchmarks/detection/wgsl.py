"""WGSL compute shaders as numpy functions, run through wgpu-py on the first Vulkan, Metal or Direct3D 12 adapter.

A shader's binding 0 is its output, the inputs follow in order, and its scalars come last, as one uniform struct of
`u32`, `i32` and `f32` fields. WGSL has no 8-bit, 16-bit (but for f16), 64-bit and boolean storage: such tensors
go packed in words, or as the 32-bit type that a kernel's plan converts them to.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.policy import Policy

# What `tvm-webgpu` declares too: it is the specification's, whoever wrote the shader.
POLICY = Policy(
    flushes_subnormals=True,
    assumes_finite=True,
    accuracy="wgsl",
    source="WGSL, 15.7 (floating point evaluation)",
)
# WebGPU, 3.6.2: the default of maxComputeWorkgroupsPerDimension.
MOST_GROUPS = 65535
_BACKENDS = ("Vulkan", "Metal", "D3D12")
_BINDING = re.compile(r"@binding\((\d+)\) var<(storage, read_write|storage, read|uniform)>")
_KINDS = {"storage, read_write": "storage", "storage, read": "read-only-storage", "uniform": "uniform"}
_ENTRY = re.compile(r"@compute[^{]*?\bfn (\w+)")
# NaN as any float, and 0x55555555 as an integer: neither looks like an answer.
_POISON = {"f": b"\xff", "i": b"\x55", "u": b"\x55"}


class Launch(NamedTuple):
    """What a call comes to.

    Attributes:
        inputs: arrays as the shader sees them, in binding order.
        shape, dtype: of the result; `stored` is its dtype in the output buffer, where that is another one.
        groups: workgroups in x, y and, where there are three, z.
        scalars: fields of the uniform struct.
        multiple: buffers are sized in multiples of so many bytes, as an allocator might; what is beyond the data is 0.
    """

    inputs: tuple[Array, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    groups: tuple[int, ...]
    scalars: tuple[int | float, ...] = ()
    stored: str = ""
    multiple: int = 4


Plan = Callable[..., Launch]


def folded(groups: int) -> tuple[int, int]:
    """So many workgroups as x and y, neither beyond WebGPU's limit; the last row of y may hold some too many."""
    rows = -(-groups // MOST_GROUPS)
    return (-(-groups // rows), rows) if rows > 1 else (groups, 1)


def ceil_div(count: int, size: int) -> int:
    return -(-count // size)


@dataclass(frozen=True)
class WgslKernel:
    """A shader with what turns a recorded call's arguments into its launch; call it on numpy arrays."""

    source: str
    plan: Plan

    def but(self, snippet: str, replacement: str) -> WgslKernel:
        """The same kernel with one snippet of its source replaced, which must occur exactly once."""
        if self.source.count(snippet) != 1:
            raise ValueError(f"{snippet!r} occurs {self.source.count(snippet)} times")
        return WgslKernel(self.source.replace(snippet, replacement), self.plan)

    def launched(self, plan: Plan) -> WgslKernel:
        """The same source, launched otherwise."""
        return WgslKernel(self.source, plan)

    def __call__(self, *args: Any) -> Array:
        launch = self.plan(*args)
        stored = np.dtype(launch.stored or launch.dtype)
        count = int(np.prod(launch.shape, dtype=np.int64))
        if count == 0:
            return np.empty(launch.shape, launch.dtype)
        with _LOCK:
            gpu = _gpu()
            try:
                data = gpu.run(self._pipeline, launch, count * stored.itemsize, _POISON[stored.kind])
            except gpu.error as error:  # it says what happened from its second line on
                raise RuntimeError(" ".join(str(error).split())) from error
        return np.frombuffer(data, stored, count).reshape(launch.shape).astype(launch.dtype)

    @cached_property
    def _pipeline(self) -> _Pipeline:
        return _gpu().pipeline(self.source)


# One device serves every thread; a call that is given up (a timeout) may still be at work when the next one comes.
_LOCK = Lock()


class _Pipeline(NamedTuple):
    pipeline: Any
    layout: Any


class _Gpu:
    """The device, and buffers that are kept between calls: every call writes all that it reads."""

    def __init__(self) -> None:
        if not os.environ.get("XDG_RUNTIME_DIR"):  # wgpu complains on stderr, though nothing is shown
            os.environ["XDG_RUNTIME_DIR"] = tempfile.gettempdir()
        import wgpu

        adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] in _BACKENDS]
        if not adapters:
            raise RuntimeError("no Vulkan, Metal or Direct3D 12 adapter")
        adapter = min(adapters, key=lambda a: a.info["adapter_type"] == "CPU")
        self._wgpu = wgpu
        self.error = wgpu.GPUError
        self._device = adapter.request_device_sync()
        self._buffers: dict[object, Any] = {}

    def pipeline(self, source: str) -> _Pipeline:
        """Raises a `wgpu.GPUError` for an invalid shader. Layouts are spelled out, so that bindings may go unused."""
        device, stage = self._device, self._wgpu.ShaderStage.COMPUTE
        entries = [
            {"binding": int(number), "visibility": stage, "buffer": {"type": _KINDS[kind]}}
            for number, kind in _BINDING.findall(source)
        ]
        (entry,) = _ENTRY.findall(source)
        layout = device.create_bind_group_layout(entries=entries)
        pipeline = device.create_compute_pipeline(
            layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": device.create_shader_module(code=source), "entry_point": entry},
        )
        return _Pipeline(pipeline, layout)

    def run(self, pipeline: _Pipeline, launch: Launch, size: int, poison: bytes) -> bytes:
        """The first `size` bytes of the output."""
        usage, write = self._wgpu.BufferUsage, self._device.queue.write_buffer
        device = self._device
        contents = [poison * _rounded(size, launch.multiple), *(_padded(a, launch.multiple) for a in launch.inputs)]
        entries: list[dict[str, Any]] = []
        for number, content in enumerate(contents):
            buffer = self._buffer(number, len(content), usage.STORAGE | usage.COPY_DST | usage.COPY_SRC)
            write(buffer, 0, content)
            entries.append({"binding": number, "resource": {"buffer": buffer, "offset": 0, "size": len(content)}})
        if launch.scalars:
            packed = b"".join(map(_packed, launch.scalars))
            uniform = self._buffer("uniform", len(packed), usage.UNIFORM | usage.COPY_DST)
            write(uniform, 0, packed)
            resource = {"buffer": uniform, "offset": 0, "size": len(packed)}
            entries.append({"binding": len(contents), "resource": resource})
        group = device.create_bind_group(layout=pipeline.layout, entries=entries)
        read = _rounded(size, 4)
        staging = self._buffer("staging", read, usage.MAP_READ | usage.COPY_DST)
        encoder = device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(pipeline.pipeline)
        compute.set_bind_group(0, group)
        compute.dispatch_workgroups(*launch.groups)
        compute.end()
        encoder.copy_buffer_to_buffer(entries[0]["resource"]["buffer"], 0, staging, 0, read)
        device.queue.submit([encoder.finish()])
        staging.map_sync(self._wgpu.MapMode.READ, 0, read)
        try:
            return bytes(staging.read_mapped(0, read)[:size])
        finally:
            staging.unmap()

    def _buffer(self, role: object, size: int, usage: int) -> Any:
        """The buffer kept for `role`, of at least `size` bytes."""
        kept = self._buffers.get(role)
        if kept is None or kept.size < size:
            kept = self._device.create_buffer(size=1 << max(12, (size - 1).bit_length()), usage=usage)
            self._buffers[role] = kept
        return kept


@cache
def _gpu() -> _Gpu:
    return _Gpu()


def _rounded(size: int, multiple: int) -> int:
    """Bytes to bind for so much data: copies are in multiples of 4, and no binding is empty (WebGPU, 5.1 and 8.2)."""
    return max(ceil_div(size, multiple) * multiple, multiple)


def _padded(array: Array, multiple: int) -> bytes:
    data = array.tobytes()
    return data.ljust(_rounded(len(data), multiple), b"\0")


def _packed(scalar: int | float) -> bytes:
    if isinstance(scalar, float):
        return struct.pack("<f", scalar)
    return struct.pack("<i" if scalar < 0 else "<I", scalar)
