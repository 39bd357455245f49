"""IREE's compiler as a function from an ONNX model to a module, and its runtime as one from arrays to arrays."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array, name_of, numpy_dtype, to_bits
from tapml_fuzz.platforms.base import BuildRejected

# The compiler runs in a process of its own, which this ends; a worker's own limit on a build is 120 s.
_COMPILE_TIMEOUT_S = 100.0

# What every target is compiled with. iree-compile defaults to O0, "minimal or no optimizations"; O2 takes no longer
# to compile and is nearer to what is deployed. Without the second, float64 is computed in float32: IREE's default.
FLAGS = ("--iree-opt-level=O2", "--iree-input-demote-f64-to-f32=false")

# Our dtypes as element types of IREE (names of `HalElementType`), as they go in and as they come out: what IREE
# computes is signless.
_ELEMENTS: dict[str, tuple[str, ...]] = {
    "float64": ("FLOAT_64",),
    "float32": ("FLOAT_32",),
    "float16": ("FLOAT_16",),
    "bfloat16": ("BFLOAT_16",),
    "int64": ("SINT_64", "INT_64"),
    "int32": ("SINT_32", "INT_32"),
    "int16": ("SINT_16", "INT_16"),
    "int8": ("SINT_8", "INT_8"),
    "uint8": ("UINT_8", "INT_8", "SINT_8"),
    "bool": ("BOOL_8", "INT_8", "SINT_8"),
}


def onnx_to_mlir(model: Any) -> str:
    """The model as IREE's importer reads it (what `iree-import-onnx` prints), with shapes inferred as it does.

    Raises what the importer raises.
    """
    import onnx
    from iree.compiler.extras import onnx_importer
    from iree.compiler.ir import Context

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    info = onnx_importer.ModelInfo(inferred)
    module = info.create_module(context=Context()).operation
    onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
    module.verify()
    return str(module.get_asm(assume_verified=True))


def compile_mlir(source: str, flags: Sequence[str]) -> bytes:
    """A module of `iree-compile` for the target that `flags` name; raises `BuildRejected` with its diagnostics."""
    from iree.compiler.tools.binaries import find_tool

    command = [find_tool("iree-compile"), "-", "--iree-input-type=onnx", *FLAGS, *flags]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=_COMPILE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise BuildRejected(f"iree-compile gives no answer within {error.timeout:g} s", source) from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()
        how = f"iree-compile ends with {done.returncode}"
        raise BuildRejected(f"{words[:3000]}\n{how}" if words else how, source)
    return done.stdout


class IreeFunction:
    """`main_graph` of a compiled module on one device.

    `runtime` is the module `iree.runtime`, `config` its `Config` with the device, `module` the bytes of `compile_mlir`,
    and `results` the dtype names that the ONNX model declares for the outputs. Raises what the runtime raises.
    """

    def __init__(self, runtime: Any, config: Any, module: bytes, results: Sequence[str]) -> None:
        self._runtime = runtime
        self._device = config.device
        loaded = runtime.VmModule.copy_buffer(config.vm_instance, module)
        self._context = runtime.VmContext(config.vm_instance, [*config.default_vm_modules, loaded])
        self._function = loaded.lookup_function("main_graph")
        self._results = tuple(results)

    def __call__(self, tensors: Sequence[Array]) -> list[Array]:
        """Outputs for inputs; raises what the runtime raises, and `TypeError` for an element type not promised."""
        given = self._runtime.VmVariantList(len(tensors))
        for tensor in tensors:
            given.push_ref(self._uploaded(tensor).ref)
        found = self._runtime.VmVariantList(len(self._results))
        self._context.invoke(self._function, given, found)
        return [
            self._downloaded(found.get_as_object(number, self._runtime.HalBufferView), dtype)
            for number, dtype in enumerate(self._results)
        ]

    def _uploaded(self, tensor: Array) -> Any:
        element = getattr(self._runtime.HalElementType, _ELEMENTS[name_of(tensor)][0])
        return self._device.allocator.allocate_buffer_copy(
            memory_type=self._runtime.MemoryType.DEVICE_LOCAL,
            allowed_usage=self._runtime.BufferUsage.DEFAULT,
            device=self._device,
            buffer=to_bits(tensor),
            element_type=element,
        )

    def _downloaded(self, view: Any, dtype: str) -> Array:
        """A copy on the host, through a staging buffer that the device itself allocates.

        `DeviceArray.to_host` lets the device write into numpy's memory where it can import it; Vulkan demands an
        alignment for that which numpy's memory does not have.
        """
        runtime, shape = self._runtime, tuple(view.shape)
        allowed = [int(getattr(runtime.HalElementType, name)) for name in _ELEMENTS[dtype]]
        if int(view.element_type) not in allowed:
            raise TypeError(f"the result is of element type {view.element_type}, the model's is {dtype}")
        if 0 in shape:
            return np.empty(shape, numpy_dtype(dtype))
        source = view.get_buffer()
        staging = self._device.allocator.allocate_buffer(
            memory_type=int(runtime.MemoryType.HOST_LOCAL | runtime.MemoryType.DEVICE_VISIBLE),
            allowed_usage=int(runtime.BufferUsage.TRANSFER_TARGET | runtime.BufferUsage.MAPPING_SCOPED),
            allocation_size=view.byte_length,
        )
        done = self._device.create_semaphore(0)
        fence = runtime.HalFence.create_at
        self._device.queue_copy(source, staging, wait_semaphores=fence(done, 0), signal_semaphores=fence(done, 1))
        fence(done, 1).wait()
        raw = staging.map().asarray((view.byte_length,), np.dtype(np.uint8))
        return np.array(raw, copy=True).view(numpy_dtype(dtype)).reshape(shape)
