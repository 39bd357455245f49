"""The parts that TVM's OpenCL and WebGPU platforms share: lowering, storages, poison and the order of launches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, NeedsStatic, NotSupported, Reproducer
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.tvm.host_program import HostProgram, compile_kernels
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch
from tapml_fuzz.platforms.tvm.lowering import Program, failure, lower
from tapml_fuzz.platforms.tvm.reproducers import compile_reproducer
from tapml_fuzz.platforms.tvm.targets import TvmTarget
from tapml_fuzz.platforms.tvm.tir_expression import Scalars


@dataclass(frozen=True)
class GpuBuild:
    """A lowered program, its kernels' host side, and what `GpuRunner.compile_source` made of the kernels, by name."""

    program: Program
    host: HostProgram
    pipelines: dict[str, Any]


class DeviceTensor(NamedTuple):
    """A device buffer with the shape and the dtype name of the tensor that it holds."""

    buffer: Any
    shape: tuple[int, ...]
    dtype: str


class GpuRunner:
    """Builds operators and runs cases on a GPU API. A subclass knows how to compile source, move bytes and launch."""

    row: TvmTarget
    target: Any
    target_options: dict[str, Any]  # what `target` was made from

    def compile_source(self, host: HostProgram) -> dict[str, Any]:
        """The kernels by name, as `launch` takes them. Raises `BuildRejected` when the driver refuses the source."""
        raise NotImplementedError

    def upload(self, array: Array) -> Any:
        """A device buffer with the array's contents; never of zero bytes."""
        raise NotImplementedError

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's contents as a packed array of that shape and dtype."""
        raise NotImplementedError

    def launch(self, pipeline: Any, host: HostProgram, launch: ReadyLaunch) -> None:
        """Enqueue one kernel: `pipeline` is its entry of `compile_source`, `launch.buffers` are the API's buffers."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait for every launch; raises when one failed."""
        raise NotImplementedError

    def spelled(self, program: Program, host: HostProgram, shapes: Sequence[tuple[int, ...]]) -> Reproducer:
        """Source that makes the kernels and the buffers, launches and reads back, for inputs of these shapes."""
        raise NotImplementedError

    def build(self, spec: BuildSpec) -> GpuBuild:
        """Lower `spec` and compile its kernels; see `base.Platform.build`."""
        program, host = self._lowered(spec)
        return GpuBuild(program, host, self.compile_source(host) if host.kernels else {})

    def _lowered(self, spec: BuildSpec) -> tuple[Program, HostProgram]:
        """The lowered program and its generated source, which no driver has seen. Raises what `build` raises."""
        program = lower(spec, self.target, self.row.passes())
        opened = bool(program.axes)
        if not program.calls:
            return program, HostProgram({}, {}, "")
        try:
            host = compile_kernels(program.functions, self.target)
        except NotSupported as error:
            raise (NeedsStatic(str(error)) if opened else error) from error
        except Exception as error:
            raise failure(error, opened) from error
        missing = {call.function for call in program.calls} - set(host.functions)
        if missing:
            raise BuildRejected(f"TVM generated no host function for {', '.join(sorted(missing))}", host.source)
        return program, host

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The kernels and launches of this very case; where TVM makes none, the TVM program that should."""
        if careful:
            return compile_reproducer(spec, self.target_options)
        try:
            program, host = self._lowered(spec)
        except BuildRejected:
            return compile_reproducer(spec, self.target_options)
        return self.spelled(program, host, spec.operator.shapes(sizes))

    def run(
        self, build: GpuBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """Run with poisoned outputs and temporaries; a second run tells unwritten elements from lookalikes."""
        scalars = build.program.scalars(tensors)
        started = time.perf_counter()
        outputs, mutated = self._execute(build, tensors, scalars, which=0)
        seconds = time.perf_counter() - started
        unread = (0,) * len(outputs)
        if suspicious(outputs):
            unread = unwritten(outputs, self._execute(build, tensors, scalars, which=1)[0])
        return Ok(tuple(outputs), seconds, unread, tuple(mutated))

    def _execute(
        self, build: GpuBuild, tensors: Sequence[Array], scalars: Scalars, which: int
    ) -> tuple[list[Array], list[int]]:
        outputs = self._launched(build, [self.upload(t) for t in tensors], scalars, which)
        return [self.fetch(output) for output in outputs], []

    def _launched(self, build: GpuBuild, inputs: Sequence[Any], scalars: Scalars, which: int) -> list[DeviceTensor]:
        """Launch every kernel on buffers filled with poison `which`, and wait."""
        program = build.program
        storages = {value.storage: buffer for value, buffer in zip(program.inputs, inputs, strict=True)}
        storages.update({storage: self.upload(constant) for storage, constant in program.constants.items()})
        for value in program.allocated:
            storages[value.storage] = self.upload(poisoned(value.shape(scalars), value.dtype, which))

        def temporary(shape: tuple[int, ...], dtype: str) -> Any:
            return self.upload(poisoned(shape, dtype, which))

        for launch in program.launches(build.host.functions, storages, scalars, temporary):
            self.launch(build.pipelines[launch.kernel], build.host, launch)
        self.finish()
        return [DeviceTensor(storages[v.storage], v.shape(scalars), v.dtype) for v in program.outputs]

    def place(self, array: Array) -> DeviceTensor:
        """See `device_tensors.Resident.place`."""
        return DeviceTensor(self.upload(np.ascontiguousarray(array).reshape(array.shape)), array.shape, name_of(array))

    def adopt(self, tensor: Any) -> DeviceTensor | None:
        """None: buffers of these APIs are nobody else's memory."""
        return None

    def compute(self, build: GpuBuild, tensors: Sequence[DeviceTensor], sizes: Mapping[str, int]) -> list[DeviceTensor]:
        """See `device_tensors.Resident.compute`; buffers are poisoned here too, but nobody looks for the poison."""
        scalars = build.program.scalars(tensors)
        return self._launched(build, [tensor.buffer for tensor in tensors], scalars, which=0)

    def fetch(self, tensor: DeviceTensor) -> Array:
        """See `device_tensors.Resident.fetch`."""
        return self.download(tensor.buffer, tensor.shape, tensor.dtype)
