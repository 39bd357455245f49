"""Tensor programs run by TVM's own runtime, called directly in `main`'s order: on the CPU or on a device it knows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, name_of, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, Info, NotSupported
from tapml_fuzz.platforms.device_tensors import on_device
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.tvm.lowering import Program, Shaped, TensorValue, failure, lower
from tapml_fuzz.platforms.tvm.targets import TvmTarget
from tapml_fuzz.platforms.tvm.tir_expression import Scalars

_ALIGNMENT = 64  # bytes; TVM's kAllocAlignment
_LAUNCHES_ONE = (
    "a tensor has no elements: TVM's runtime launches one block where there is none to launch, which accesses memory "
    "that is not there and costs the device (apache/tvm issue 20278)"
)


@dataclass(frozen=True)
class RuntimeBuild:
    """A lowered program and, by name, the compiled functions that it calls."""

    program: Program
    functions: dict[str, Any]


class TvmRuntime:
    """Builds and runs with TVM alone. A subclass names its `row` and finds `target` and `device` in its `activate`."""

    name: str
    row: TvmTarget
    target: Any
    device: Any

    def described(self, tvm: Any, device: str, **versions: str) -> Info:
        """The `Info` of the activated platform, from its row, the device at hand, and versions besides TVM's."""
        return Info(
            self.name,
            True,
            device=device,
            versions={"apache-tvm": str(tvm.__version__), **versions},
            capabilities=Capabilities(self.row.dtypes, self.row.also_accepts, empty=self.row.takes_empty),
            policy=self.row.policy,
        )

    def compiled(self, functions: Any) -> Any:
        """A loaded module with the tensor programs of the TVM module `functions`; raises whatever TVM raises."""
        import tvm

        return tvm.tirx.build(functions, target=self.target)

    def build(self, spec: BuildSpec) -> RuntimeBuild:
        """Lower `spec` and compile its tensor programs; a program that only moves shapes has none.

        Raises what `lowering.lower` raises, and the same for what fails in code generation.
        """
        program = lower(spec, self.target, self.row.passes())
        functions: dict[str, Any] = {}
        try:
            if program.calls:
                compiled = self.compiled(program.functions)
                functions = {call.function: compiled[call.function] for call in program.calls}
        except BuildRejected:
            raise
        except Exception as error:  # TVM raises many types; each means that it would not compile this
            raise failure(error, bool(program.axes)) from error
        return RuntimeBuild(program, functions)

    def run(
        self, build: RuntimeBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """Run with poisoned outputs; a second run, with another poison, tells unwritten elements from lookalikes.

        Raises `NotSupported` where the program makes a tensor of no elements and the runtime takes none on the device.
        """
        scalars = self._scalars(build.program, tensors)
        started = time.perf_counter()
        outputs, held = self._execute(build, tensors, scalars, which=0)
        seconds = time.perf_counter() - started
        unread = (0,) * len(outputs)
        if suspicious(outputs):
            second, _ = self._execute(build, tensors, scalars, which=1)
            unread = unwritten(outputs, second)
        mutated = tuple(
            slot for slot, (before, after) in enumerate(zip(tensors, held, strict=True))
            if not np.array_equal(to_bits(before), to_bits(after))
        )  # fmt: skip
        return Ok(tuple(outputs), seconds, unread, mutated)

    def _scalars(self, program: Program, tensors: Sequence[Shaped]) -> Scalars:
        """The shape variables' values; raises `NotSupported` where a tensor of no elements is made and that is not run.

        The capabilities exclude inputs of no elements there; what a program makes is known here.
        """
        scalars = program.scalars(tensors)
        if not self.row.takes_empty and any(0 in value.shape(scalars) for value in program.allocated):
            raise NotSupported(_LAUNCHES_ONE)
        return scalars

    def _execute(
        self, build: RuntimeBuild, tensors: Sequence[Array], scalars: Scalars, which: int
    ) -> tuple[list[Array], list[Array]]:
        """Run once with outputs filled by poison `which`; the outputs, and the inputs as they are after."""
        program = build.program
        held = [
            self.upload_unchanged(tensor, value.dtype) for tensor, value in zip(tensors, program.inputs, strict=True)
        ]
        storages: dict[int, Any] = {value.storage: tensor for value, tensor in zip(program.inputs, held, strict=True)}
        for storage, constant in program.constants.items():
            storages[storage] = self.upload_unchanged(constant, str(constant.dtype))
        for value in program.allocated:
            shape = value.shape(scalars)
            storages[value.storage] = self.upload(poisoned(shape, value.dtype, which), value.dtype)
        # `numpy()` waits for the device.
        outputs = [tensor.numpy() for tensor in _called(build, storages, scalars)]
        return outputs, [tensor.numpy() for tensor in held]

    def place(self, array: Array) -> Any:
        """See `device_tensors.Resident.place`."""
        return self.upload(np.ascontiguousarray(array).reshape(array.shape), name_of(array))

    def adopt(self, tensor: Any) -> Any | None:
        """A tensor of torch's or TVM's on this very device, packed and aligned as TVM's kernels expect; else None.

        None for a tensor of no elements as well: torch strides it otherwise than TVM's functions expect.
        """
        import tvm

        if 0 in tensor.shape or not on_device(tensor, self.device.dlpack_device_type(), self.device.index):
            return None
        if hasattr(tensor, "contiguous"):
            tensor = tensor.detach().contiguous()
            if tensor.data_ptr() % _ALIGNMENT:
                tensor = tensor.clone()
        try:
            return tvm.runtime.from_dlpack(tensor)
        except (BufferError, RuntimeError, TypeError, ValueError):  # a dtype that one of the two cannot name
            return None

    def compute(self, build: RuntimeBuild, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        """See `device_tensors.Resident.compute`; inputs are read in place, and outputs hold no poison."""
        import tvm

        program = build.program
        scalars = self._scalars(program, [_Shape(tuple(map(int, tensor.shape))) for tensor in tensors])
        storages: dict[int, Any] = {v.storage: t for v, t in zip(program.inputs, tensors, strict=True)}
        for storage, constant in program.constants.items():
            storages[storage] = self.upload(constant, str(constant.dtype))
        for value in program.allocated:
            storages[value.storage] = tvm.runtime.empty(value.shape(scalars), value.dtype, self.device)
        outputs = _called(build, storages, scalars)
        self.device.sync()
        return outputs

    def fetch(self, tensor: Any) -> Array:
        """See `device_tensors.Resident.fetch`."""
        array: Array = tensor.numpy()
        return array

    def upload_unchanged(self, array: Array, dtype: str) -> Any:
        """A tensor on the device that the program should only read."""
        return self.upload(array, dtype)

    def upload(self, array: Array, dtype: str) -> Any:
        """A new tensor on the device with the array's contents; `dtype` is TVM's name of it."""
        import tvm

        tensor = tvm.runtime.empty(array.shape, dtype, self.device)
        tensor.copyfrom(array)
        return tensor


class _Shape(NamedTuple):
    shape: tuple[int, ...]


def _called(build: RuntimeBuild, storages: Mapping[int, Any], scalars: Scalars) -> list[Any]:
    """Call the functions of a build in order; the outputs, which a device may still be computing."""
    for call in build.program.calls:
        arguments = [
            _seen(storages[a.storage], a.shape(scalars)) if isinstance(a, TensorValue) else a(scalars)
            for a in call.arguments
        ]
        build.functions[call.function](*arguments)
    return [_seen(storages[v.storage], v.shape(scalars)) for v in build.program.outputs]


def _seen(tensor: Any, shape: tuple[int, ...]) -> Any:
    """The tensor with another shape over the same memory."""
    return tensor if tuple(tensor.shape) == shape else tensor._create_view(shape)
