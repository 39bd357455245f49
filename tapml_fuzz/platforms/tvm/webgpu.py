"""TVM's WGSL kernels, run through wgpu-py on a Vulkan, Metal or Direct3D 12 adapter."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import BuildSpec, Info, NotSupported, Reproducer
from tapml_fuzz.platforms.compute_source import compute_source
from tapml_fuzz.platforms.devices.webgpu import (
    BACKENDS,
    RAISED_LIMITS,
    Pipeline,
    WebGPUDevice,
)
from tapml_fuzz.platforms.devices.webgpu_reproducer import helpers
from tapml_fuzz.platforms.devices.wgsl_types import narrowed, narrowed_spec
from tapml_fuzz.platforms.python_source import parameters, text_block
from tapml_fuzz.platforms.tvm.gpu import DeviceTensor, GpuBuild, GpuRunner
from tapml_fuzz.platforms.tvm.host_program import HostProgram, Kernel
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch
from tapml_fuzz.platforms.tvm.launch_script import LaunchRecorder
from tapml_fuzz.platforms.tvm.lowering import Program
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin
from tapml_fuzz.platforms.tvm.wgsl_outputs import refuse_outputs

_MARK = re.compile(r"^// Function: (\w+)$", re.MULTILINE)
_STORAGE = re.compile(r"^@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> \w+ : ", re.MULTILINE)
_UNIFORM = re.compile(r"^@group\(0\) @binding\((\d+)\) var<uniform> podArgs : PODArgs;$", re.MULTILINE)
_FIELDS = re.compile(r"^struct PODArgs \{\n(.*?)\n\}$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class _Packed:
    """A pipeline, and how its scalars are packed."""

    pipeline: Pipeline
    packing: str  # `struct` format of PODArgs: its scalar fields, then packGridDimX


class TvmWebGPU(GpuRunner):
    """Apache TVM, target `webgpu`. int64 inputs go as int32 where no output is int64 (WGSL has no 64-bit integers)."""

    name = "tvm-webgpu"
    row = TARGETS["tvm-webgpu"]

    def activate(self) -> Info:
        """See `base.Platform.activate`; dtypes and the largest tensor are the adapter's."""
        tvm, _ = begin(self.row, own_runtime=False)
        self._device = WebGPUDevice()
        self.target_options = self.row.options()
        self.target = tvm.target.Target(self.target_options)
        return Info(
            self.name,
            True,
            device=self._device.description,
            versions={"apache-tvm": str(tvm.__version__), **self._device.versions},
            capabilities=Capabilities(
                self._device.dtypes, self.row.also_accepts, max_elements=self._device.max_elements
            ),
            policy=self.row.policy,
        )

    def build(self, spec: BuildSpec) -> GpuBuild:
        """See `GpuRunner.build`. Raises `NotSupported` for an output whose dtype no shader can write."""
        build = super().build(narrowed_spec(spec))
        refuse_outputs(build.program)
        return build

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """See `GpuRunner.reproducer`; int64 inputs go as int32."""
        return super().reproducer(narrowed_spec(spec), sizes, layouts, careful=careful)

    def run(
        self, build: GpuBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `GpuRunner.run`. Raises `NotSupported` for an int64 value beyond 32 bits."""
        return super().run(build, [narrowed(tensor) for tensor in tensors], layouts, sizes)

    def place(self, array: Array) -> DeviceTensor:
        """See `device_tensors.Resident.place`; int64 goes as int32, and the device remembers the contents."""
        array = narrowed(array)
        tensor = super().place(array)
        self._device.remember(tensor.buffer, array)
        return tensor

    def compute(self, build: GpuBuild, tensors: Sequence[DeviceTensor], sizes: Mapping[str, int]) -> list[DeviceTensor]:
        """See `GpuRunner.compute`; it waits by landing the first output, which most likely is fetched next."""
        outputs = super().compute(build, tensors, sizes)
        if build.program.calls:
            self._device.land(outputs[0].buffer)
        return outputs

    def compile_source(self, host: HostProgram) -> dict[str, Any]:
        """A pipeline per kernel, of a shader module of its own: TVM repeats `PODArgs` and the bindings in each."""
        return {name: self._pipeline(host.kernels[name], text) for name, text in _split(host).items()}

    def spelled(self, program: Program, host: HostProgram, shapes: Sequence[tuple[int, ...]]) -> Reproducer:
        """The shaders and their dispatches on wgpu; see `GpuRunner.spelled`."""
        sources = _split(host) if host.kernels else {}
        numbers = {name: number for number, name in enumerate(sources)}

        def spell(launch: ReadyLaunch) -> str:
            kernel = host.kernels[launch.kernel]
            grid, last_block = self._packed_grid(launch)
            packing = _packing(kernel, sources[launch.kernel])
            values = ", ".join(map(repr, (packing, *launch.scalars, last_block)))
            number, buffers = numbers[launch.kernel], "".join(f", {name}" for name in launch.buffers)
            return f"launch(kernel_{number}, {grid}, struct.pack({values}){buffers})"

        steps = LaunchRecorder(spell)
        # WGSL has no 64-bit integers: an int64 tensor goes as int32.
        given = [f"x{n}.int()" if value.dtype == "int32" else f"x{n}" for n, value in enumerate(program.inputs)]
        outputs = steps.record(program, host, shapes, given)
        texts = [f"SOURCE_{numbers[name]} = {text_block(text)}\n" for name, text in sources.items()]
        prologue = [
            f"kernel_{number} = pipeline(SOURCE_{number}, {name!r}, {_kinds(host.kernels[name], sources[name])!r})"
            for name, number in numbers.items()
        ]
        head = "# As TVM generated it.\n" if texts else ""
        return Reproducer(
            ("import struct", "import wgpu"),
            f"{head}{''.join(texts)}\n{helpers(BACKENDS, RAISED_LIMITS)}"
            + compute_source(parameters(len(shapes)), prologue, steps.lines, outputs),
        )

    def _pipeline(self, kernel: Kernel, source: str) -> _Packed:
        return _Packed(self._device.pipeline(source, kernel.name, _kinds(kernel, source)), _packing(kernel, source))

    def upload(self, array: Array) -> Any:
        """See `WebGPUDevice.upload`."""
        return self._device.upload(array)

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """See `WebGPUDevice.download`."""
        return self._device.download(buffer, shape, dtype)

    def launch(self, pipeline: _Packed, host: HostProgram, launch: ReadyLaunch) -> None:
        """Dispatch the kernel, its scalars packed in a uniform. Raises `NotSupported` for one beyond 32 bits."""
        grid, last_block = self._packed_grid(launch)
        wide = [value for value in launch.scalars if isinstance(value, int) and not -(2**31) <= value < 2**31]
        if wide:
            raise NotSupported(f"kernel {launch.kernel}: scalar {wide[0]} exceeds 32 bits")
        scalars = struct.pack(pipeline.packing, *launch.scalars, last_block)
        self._device.dispatch(pipeline.pipeline, grid, launch.buffers, scalars)

    def _packed_grid(self, launch: ReadyLaunch) -> tuple[tuple[int, int, int], int]:
        """The grid to dispatch, and the last block's index: TVM's kernels fold what exceeds x into z."""
        x, y, z = launch.grid
        limit = int(self._device.limits["max-compute-workgroups-per-dimension"])
        if z != 1:
            raise NotSupported(f"kernel {launch.kernel} has {z} blocks in z, where TVM's WGSL folds x")
        folds = -(-x // limit)
        if y > limit or folds > limit:
            raise NotSupported(f"kernel {launch.kernel}: grid {launch.grid} exceeds {limit} per dimension")
        return (-(-x // folds), y, folds), x - 1

    def finish(self) -> None:
        """Nothing to wait for: reading a buffer back waits, and wgpu-py raises validation errors where they occur."""


def _kinds(kernel: Kernel, source: str) -> list[str]:
    """The type of each binding: the buffers, then the uniform scalars."""
    bindings = _STORAGE.findall(source)
    uniform = _UNIFORM.findall(source)
    if [int(number) for number, _ in bindings] != list(range(kernel.buffers)) or uniform != [str(kernel.buffers)]:
        raise NotSupported(f"kernel {kernel.name}: bindings are not {kernel.buffers} buffers and PODArgs")
    return ["read-only-storage" if access == "read" else "storage" for _, access in bindings] + ["uniform"]


def _split(host: HostProgram) -> dict[str, str]:
    """Each kernel's source. TVM writes `// Function: name` before each (twice), and nothing is shared."""
    starts: dict[str, int] = {}
    for match in _MARK.finditer(host.source):
        starts.setdefault(match.group(1), match.start())
    if set(starts) != set(host.kernels):
        raise NotSupported(f"WGSL holds {sorted(starts)}, the host program launches {sorted(host.kernels)}")
    ends = [*sorted(starts.values())[1:], len(host.source)]
    ordered = sorted(starts, key=lambda name: starts[name])
    # A feature is enabled per module, at its very top.
    directives = "".join(re.findall(r"^enable [^\n]*;\n", host.source, re.MULTILINE)[:1])
    return {
        name: directives + re.sub(r"^enable [^\n]*;\n", "", host.source[starts[name] : end], flags=re.MULTILINE)
        for name, end in zip(ordered, ends, strict=True)
    }


def _packing(kernel: Kernel, source: str) -> str:
    """`struct` format of the uniform `PODArgs`, checked against the kernel's signature."""
    found = _FIELDS.search(source)
    fields = [line.strip().rstrip(",").split(": ") for line in found.group(1).splitlines()] if found else []
    if [field[0] for field in fields][-1:] != ["packGridDimX"] or len(fields) != len(kernel.scalars) + 1:
        raise NotSupported(f"kernel {kernel.name}: PODArgs is not {len(kernel.scalars)} scalars and packGridDimX")
    formats = {"i32": "i", "u32": "I", "f32": "f"}
    unknown = [field for field in fields if field[-1] not in formats]
    if unknown:
        raise NotSupported(f"kernel {kernel.name}: scalar {': '.join(unknown[0])}")
    return "<" + "".join(formats[field[-1]] for field in fields)
