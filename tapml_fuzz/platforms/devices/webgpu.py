"""One WebGPU device through wgpu-py: what it is, how bytes come and go, pipelines and dispatches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tapml_fuzz.core.dtypes import Array, numpy_dtype, to_bits
from tapml_fuzz.platforms.base import BuildRejected, Unavailable

BACKENDS = ("Vulkan", "Metal", "D3D12")
# What is asked for beyond the defaults of the WebGPU specification, 3.6.2, as far as the adapter goes.
RAISED_LIMITS = (
    "max-buffer-size",
    "max-storage-buffer-binding-size",
    "max-storage-buffers-per-shader-stage",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroup-size-x",
    "max-compute-workgroup-size-y",
    "max-compute-workgroup-size-z",
    "max-compute-workgroups-per-dimension",
)

_LANDED = 16 << 20  # bytes of the largest buffer that lands as a whole

_HINT = "pip install 'tapml_fuzz[webgpu]'; without a GPU driver: Debian's mesa-vulkan-drivers"


@dataclass(frozen=True)
class Pipeline:
    """A compute pipeline with the layout of its one bind group; `writes` are the buffers that it may write."""

    pipeline: Any
    layout: Any
    writes: tuple[int, ...] = ()


class WebGPUDevice:
    """The first adapter that is no CPU, else the first. Raises `Unavailable` when there is none.

    Attributes:
        dtypes: names of the dtypes that shaders compute in.
        limits: the raised limits, by name.
        description: the adapter's name, its backend and its driver.
        versions: of wgpu, by name.
    """

    def __init__(self) -> None:
        try:
            import wgpu
        except (ImportError, OSError) as error:
            raise Unavailable(f"cannot import: {error}", _HINT) from error
        try:
            adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] in BACKENDS]
        except Exception as error:  # a missing loader shows as any of several types
            raise Unavailable(f"no adapter: {error}", _HINT) from error
        if not adapters:
            raise Unavailable(f"no {', '.join(BACKENDS)} adapter", _HINT)
        adapter = min(adapters, key=lambda a: a.info["adapter_type"] == "CPU")
        self._wgpu = wgpu
        self.limits = {name: adapter.limits[name] for name in RAISED_LIMITS if name in adapter.limits}
        half = "shader-f16" in adapter.features
        self._device = adapter.request_device_sync(
            required_features=["shader-f16"] if half else [], required_limits=self.limits
        )
        self._known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # buffer -> array, or mapped copy, of the same
        self.dtypes = ("float32", "int32", *(("float16",) if half else ()))
        self.description = f"{adapter.info['device']} ({adapter.info['backend_type']}, {adapter.info['description']})"
        self.versions = {"wgpu": str(wgpu.__version__)}

    @property
    def max_elements(self) -> int:
        """The size of the largest tensor that one binding holds, in elements of the smallest dtype it computes in."""
        return int(self.limits["max-storage-buffer-binding-size"]) // (2 if "float16" in self.dtypes else 4)

    def pipeline(self, source: str, entry_point: str, kinds: Sequence[str]) -> Pipeline:
        """A pipeline with one binding per entry of `kinds`, WebGPU's buffer binding types (`"storage"`, `"uniform"`).

        Raises `BuildRejected` when the shader is refused.
        """
        stage = self._wgpu.ShaderStage.COMPUTE
        entries = [
            {"binding": number, "visibility": stage, "buffer": {"type": kind}} for number, kind in enumerate(kinds)
        ]
        try:
            module = self._device.create_shader_module(code=source)
            layout = self._device.create_bind_group_layout(entries=entries)
            pipeline = self._device.create_compute_pipeline(
                layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                compute={"module": module, "entry_point": entry_point},
            )
        except self._wgpu.GPUError as error:
            raise BuildRejected(f"invalid shader: {_plain(error)}", source) from error
        return Pipeline(pipeline, layout, tuple(number for number, kind in enumerate(kinds) if kind == "storage"))

    def upload(self, array: Array) -> Any:
        """A storage buffer with the array's contents; never of zero bytes."""
        usage = self._wgpu.BufferUsage
        # Sizes and copies are in multiples of 4 bytes, and a binding may not be empty (WebGPU, 5.1 and 8.2).
        buffer = self._device.create_buffer(
            size=max(4, -array.nbytes % 4 + array.nbytes),
            usage=usage.STORAGE | usage.COPY_DST | usage.COPY_SRC,
            mapped_at_creation=True,  # `write_buffer` takes twice as long
        )
        if array.size:
            buffer.write_mapped(to_bits(array))
        buffer.unmap()
        return buffer

    def remember(self, buffer: Any, array: Array) -> None:
        """Take note that a buffer holds `array`, which nobody changes any more.

        `download` then gives its memory, to read only, until a dispatch may have written the buffer.
        """
        self._known[buffer] = to_bits(array).reshape(-1)

    def land(self, buffer: Any) -> None:
        """Wait for the dispatches before, by copying a buffer to where `download` finds it.

        There is no other way to wait: WebGPU's own `onSubmittedWorkDone` raises `TypeError` in wgpu-py 0.32.
        """
        usage = self._wgpu.BufferUsage
        size = buffer.size if buffer.size <= _LANDED else 4
        copy = self._device.create_buffer(size=size, usage=usage.COPY_DST | usage.MAP_READ)
        encoder = self._device.create_command_encoder()
        encoder.copy_buffer_to_buffer(buffer, 0, copy, 0, size)
        self._device.queue.submit([encoder.finish()])
        copy.map_sync("READ")
        if size == buffer.size:
            self._known[buffer] = copy

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's contents as a packed array of that shape and dtype; waits for the dispatches before."""
        element = numpy_dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            return np.empty(shape, element)
        known = self._known.get(buffer)
        if isinstance(known, np.ndarray):
            seen = known.view(element)[:count].reshape(shape)
            seen.flags.writeable = False
            return seen
        if known is not None:
            return np.frombuffer(known.read_mapped(copy=False), element, count).reshape(shape).copy()
        data = self._device.queue.read_buffer(buffer)  # memory of its own
        return np.frombuffer(data, element, count).reshape(shape)

    def dispatch(self, pipeline: Pipeline, workgroups: Sequence[int], buffers: Sequence[Any], uniform: bytes) -> None:
        """Run a pipeline with the buffers bound in order, behind them `uniform` if it has any bytes.

        wgpu-py raises validation errors where they occur, so nothing has to be asked for afterwards; they come as
        `RuntimeError` with one line.
        """
        for number in pipeline.writes:
            self._known.pop(buffers[number], None)
        bound = list(buffers)
        if uniform:
            usage = self._wgpu.BufferUsage.UNIFORM
            bound.append(self._device.create_buffer_with_data(data=uniform, usage=usage))
        entries = [
            {"binding": number, "resource": {"buffer": buffer, "offset": 0, "size": buffer.size}}
            for number, buffer in enumerate(bound)
        ]
        try:
            group = self._device.create_bind_group(layout=pipeline.layout, entries=entries)
            encoder = self._device.create_command_encoder()
            compute = encoder.begin_compute_pass()
            compute.set_pipeline(pipeline.pipeline)
            compute.set_bind_group(0, group)
            compute.dispatch_workgroups(*workgroups)
            compute.end()
            self._device.queue.submit([encoder.finish()])
        except self._wgpu.GPUError as error:
            raise RuntimeError(f"dispatch of {tuple(workgroups)} work groups: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:600]
