"""TVM compiled by LLVM for this machine's CPU; the tensor programs are called directly, in `main`'s order."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import Info, Run, Script, Unit
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.tvm_program import Program, Value, failure, lower
from tapml_fuzz.platforms.tvm_script import cpu_script

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class _Build:
    program: Program
    functions: dict[str, Any]


# glibc's M_PERTURB (mallopt(3)): fresh memory is filled with the complement of this byte, 0x7F, a huge number as a
# float. Temporaries that the compiled code allocates itself are out of our poison's reach.
_M_PERTURB, _PERTURB_BYTE = -6, 0x80


class TvmLlvm:
    """Apache TVM, target `llvm`."""

    name = "tvm-llvm"

    def activate(self) -> Info:
        capabilities = Capabilities(dtypes=_DTYPES, strided=False, symbolic=True)
        try:
            import tvm

            codegen = tvm.get_global_func("target.build.llvm", allow_missing=True)
        except (ImportError, OSError) as error:
            return Info(self.name, False, f"TVM cannot be imported: {error}", "pip install apache-tvm")
        if codegen is None:
            return Info(self.name, False, "this TVM has no LLVM code generator", "pip install apache-tvm")
        _perturb_fresh_memory()
        self._tvm = tvm
        self._target = tvm.target.Target("llvm")
        self._device = tvm.cpu()
        return Info(
            self.name,
            True,
            device=str(tvm.get_global_func("target.llvm_get_system_cpu")()),
            versions={"apache-tvm": str(tvm.__version__)},
            capabilities=capabilities,
            policy=Policy(accuracy="ieee", source="LLVM's default code generation: no fast-math flags"),
        )

    def build(self, unit: Unit) -> Any:
        from tvm.relax.backend.cpu_generic import pipeline

        program = lower(unit, self._target, pipeline)
        try:
            functions: dict[str, Any] = {}
            if program.calls:
                compiled = self._tvm.tirx.build(program.functions, target=self._target)
                functions = {call.function: compiled[call.function] for call in program.calls}
        except Exception as error:
            raise failure(error, bool(program.axes)) from error
        return _Build(program, functions)

    def run(self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]) -> Run:
        program: Program = build.program
        scalars = program.scalars(tensors)
        started = time.perf_counter()
        outputs, held = self._execute(build, tensors, scalars, which=0)
        seconds = time.perf_counter() - started
        unread = [0] * len(outputs)
        if suspicious(outputs):
            second, _ = self._execute(build, tensors, scalars, which=1)
            unread = unwritten(outputs, second)
        mutated = [
            slot for slot, (before, after) in enumerate(zip(tensors, held, strict=True))
            if not np.array_equal(to_bits(before), to_bits(after.numpy()))
        ]  # fmt: skip
        return Run(list(outputs), seconds, unread, mutated)

    def script(
        self, unit: Unit, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Script:
        """By way of Relax's virtual machine, which a developer of TVM knows better than the bare tensor programs."""
        return cpu_script(unit, layouts)

    def _execute(
        self, build: _Build, tensors: Sequence[Array], scalars: Mapping[Any, Any], which: int
    ) -> tuple[list[Array], list[Any]]:
        """Run once with outputs filled by poison `which`; the outputs and the input tensors as they are after."""
        program = build.program
        held = [self._upload(tensor, value.dtype) for tensor, value in zip(tensors, program.inputs, strict=True)]
        storages: dict[int, Any] = {value.storage: tensor for value, tensor in zip(program.inputs, held, strict=True)}
        for storage, constant in program.constants.items():
            storages[storage] = self._tvm.runtime.tensor(constant, device=self._device)
        for value in program.allocated:
            shape = value.shape(scalars)
            storages[value.storage] = self._upload(poisoned(shape, value.dtype, which), value.dtype)
        for call in build.program.calls:
            arguments = [
                _seen(storages[a.storage], a.shape(scalars)) if isinstance(a, Value) else a(scalars)
                for a in call.arguments
            ]
            build.functions[call.function](*arguments)
        outputs = [_seen(storages[v.storage], v.shape(scalars)).numpy() for v in program.outputs]
        return outputs, held

    def _upload(self, array: Array, dtype: str) -> Any:
        tensor = self._tvm.runtime.empty(array.shape, dtype, self._device)
        tensor.copyfrom(array)
        return tensor


def _seen(tensor: Any, shape: tuple[int, ...]) -> Any:
    """The tensor with another shape over the same memory."""
    return tensor if tuple(tensor.shape) == shape else tensor._create_view(shape)


def _perturb_fresh_memory() -> None:
    """Make memory that is read before it is written show; does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_PERTURB, _PERTURB_BYTE)
