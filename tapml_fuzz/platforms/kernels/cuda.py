"""A user's kernel in CUDA C, compiled by NVRTC through torch and launched through the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tapml_fuzz.core.dtypes import NAMES, Array
from tapml_fuzz.core.policy import NO_LIMIT, Policy
from tapml_fuzz.platforms.base import BuildRejected, DeviceLost, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.compute_source import compute_source
from tapml_fuzz.platforms.kernels.backend import Compiled, HoldsEveryDtype, KernelCall, LaunchSource, c_constants
from tapml_fuzz.platforms.kernels.header import KernelHeader
from tapml_fuzz.platforms.python_source import text_block

_HINT = "an NVIDIA GPU with its driver, and a CUDA build of torch (see pytorch.org)"
_INCLUDES = {"float16": "#include <cuda_fp16.h>", "bfloat16": "#include <cuda_bf16.h>"}
# CUDA_ERROR_INVALID_VALUE and CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: the launch was refused, nothing has run.
_REFUSED = (1, 701)
_SAID = 600  # characters of a compiler's message that are kept

_HELPERS = """\
print("device:", torch.cuda.get_device_name(0))


def buffer(tensor):
    return tensor.contiguous().cuda()


def unwritten(size):
    return torch.full((max(size, 1),), 0xFF, dtype=torch.uint8, device="cuda")  # NaN in every float width


def read(memory, shape, dtype):
    count = torch.Size(shape).numel()
    size = count * torch.empty((), dtype=dtype).element_size()
    return memory[:size].cpu().view(dtype).reshape(shape)


"""


class CudaKernels(HoldsEveryDtype):
    """See `backend.Backend`. The launch's `grid` counts blocks of `block` threads.

    The kernel is `extern "C"`, or found by its plain name.
    """

    policy = Policy(accuracy="ieee", source="CUDA C Programming Guide, mathematical functions; no fast math")
    max_elements = NO_LIMIT
    inputs: tuple[str, ...] = NAMES
    outputs: tuple[str, ...] = NAMES
    type_names: Mapping[str, str] = {
        "float64": "double", "float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16",
        "int64": "long long", "int32": "int", "int16": "short", "int8": "signed char", "uint8": "unsigned char",
        "bool": "bool",
    }  # fmt: skip

    def __init__(self) -> None:
        try:
            import torch

            if not torch.cuda.is_available():
                why = "no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
                raise Unavailable(why, _HINT)
            if not hasattr(torch.cuda, "_compile_kernel"):
                raise Unavailable(f"torch {torch.__version__} has no NVRTC helper", "pip install 'torch>=2.8'")
            torch.zeros(1, device="cuda")  # makes the context that kernels are loaded into
            self._driver = ctypes.CDLL("libcuda.so.1")
        except (ImportError, OSError, RuntimeError) as error:
            raise Unavailable(f"torch cannot use CUDA: {error}", _HINT) from error
        self.description = torch.cuda.get_device_name(0)
        self.versions = {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)}

    def with_constants(self, source: str, constants: Mapping[str, str], dtypes: Iterable[str]) -> str:
        """See `backend.Backend`. Constants are `#define`s; half precision types bring their `#include`."""
        used = set(constants.values())
        return c_constants(constants, source, [i for d, i in _INCLUDES.items() if self.type_names[d] in used])

    def compile(self, source: str, header: KernelHeader) -> Compiled:
        """Compile by NVRTC. Raises `BuildRejected` with its message; whether the arguments fit cannot be checked."""
        import torch

        try:
            kernel = torch.cuda._compile_kernel(source, header.kernel)
        except Exception as error:  # RuntimeError for what NVRTC or the driver says, and whatever finding them raises
            raise BuildRejected(f"NVRTC: {complaint(str(error))}", source) from error
        return Compiled(kernel, header.buffers)

    def upload(self, array: Array) -> Any:
        """A tensor on the first CUDA device with the array's contents."""
        from tapml_fuzz.operators.invoke import to_torch

        return to_torch(array).cuda()

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor as a numpy array, whose shape and dtype are those it was uploaded with."""
        from tapml_fuzz.operators.invoke import to_numpy

        return to_numpy(buffer)

    def launch(self, compiled: Compiled, call: KernelCall, buffers: Mapping[str, Any]) -> None:
        """Launch through the driver: torch's own launcher has no types for the scalars but int32 and float64.

        Raises `ValueError` for a launch that CUDA refuses, `DeviceLost` for any other error.
        """
        import torch

        addresses = {name: buffer.data_ptr() for name, buffer in buffers.items()}
        pointers, _kept = packed(call.filled(addresses))
        grid, block = ((*call.extents[key], 1, 1)[:3] for key in ("grid", "block"))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        code = self._driver.cuLaunchKernel(compiled.kernel.func, *grid, *block, 0, stream, pointers, None)
        if code in _REFUSED:
            raise ValueError(f"CUDA refuses the launch of grid {grid}, block {block}: {self._named(code)}")
        if code:
            raise DeviceLost(f"CUDA error: {self._named(code)}")

    def finish(self) -> None:
        """Wait for the launch. Raises `DeviceLost` when it failed: the error stays with the context."""
        import torch

        try:
            torch.cuda.synchronize()
        except RuntimeError as error:  # stays with the context: every later call reports it again
            raise DeviceLost(str(error).splitlines()[0]) from error

    def reproducer(self, source: str, header: KernelHeader, call: KernelCall, steps: LaunchSource) -> Reproducer:
        """See `backend.Backend.reproducer`. Raises `NotSupported` for scalars other than int32."""
        if {scalar.type for scalar in call.scalars} - {"i32"}:
            raise NotSupported("torch's own launcher, which a script has, passes int32 scalars only")
        given = [steps.buffers[a] if isinstance(a, str) else str(a.value) for a in call.arguments]
        grid, block = ((*call.extents[key], 1, 1)[:3] for key in ("grid", "block"))
        launch = f"kernel(grid={grid}, block={block}, args=[{', '.join(given)}])"
        return Reproducer(
            (),
            f"SOURCE = {text_block(source)}\n\n{_HELPERS}"
            + compute_source(
                steps.given,
                [f"kernel = torch.cuda._compile_kernel(SOURCE, {header.kernel!r})"],
                [*steps.lines, *([] if call.empty else [launch])],
                steps.outputs,
            ),
        )

    def _named(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._driver.cuGetErrorString(code, ctypes.byref(text))
        return (text.value or b"unknown error").decode()


def packed(arguments: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The array `kernelParams` of cuLaunchKernel (CUDA Driver API, 6.21), and the memory it points into.

    An address is an int; a scalar is a numpy scalar, whose own bytes are passed.
    """
    kept: list[Any] = []
    for argument in arguments:
        data = argument.to_bytes(8, "little") if isinstance(argument, int) else argument.tobytes()
        kept.append(ctypes.create_string_buffer(data, len(data)))
    return (ctypes.c_void_p * max(1, len(kept)))(*(ctypes.addressof(memory) for memory in kept)), kept


def complaint(message: str) -> str:
    """The compiler's errors in one line, without the text around them."""
    lines = [line.strip() for line in message.splitlines() if "error: " in line]
    return "; ".join(lines or message.strip().splitlines()[:3])[:_SAID]
