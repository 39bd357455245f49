"""TVM compiled for CUDA and run by the CUDA runtime in TVM's own wheel."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, DeviceLost, Info, Reproducer, Unavailable
from tapml_fuzz.platforms.build_cache import BuildCache
from tapml_fuzz.platforms.tvm.pool import Pool, PooledRuntime
from tapml_fuzz.platforms.tvm.reproducers import cuda_reproducer
from tapml_fuzz.platforms.tvm.runtime import RuntimeBuild
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin

_NO_DEVICE = "an NVIDIA GPU with its driver"
_NO_COMPILER = "put CUDA's nvcc on PATH, or pip install cuda-bindings and CUDA's headers for nvrtc"
_PROBE = 'extern "C" __global__ void probe(float* x) { x[threadIdx.x] = expf(x[threadIdx.x]); }\n'
_FORMATS = {"nvrtc": "cubin", "nvcc": "fatbin"}
_SAID = 600  # characters of a compiler's message that are kept


class TvmCuda(PooledRuntime):
    """Apache TVM, target `cuda`, on the first device."""

    name = "tvm-cuda"
    row = TARGETS["tvm-cuda"]

    def __init__(self) -> None:
        self._binaries: dict[str, bytes] = {}  # compiled at build, fetched by the runtime at the first launch
        self._compiler = ""
        self._cache = BuildCache("tvm-cuda")

    def activate(self) -> Info:
        """See `base.Platform.activate`; `Unavailable` without a driver, a device or a compiler that works."""
        try:
            ctypes.CDLL("libcuda.so.1")  # before the second that TVM takes to import
        except OSError as error:
            raise Unavailable("no CUDA driver (libcuda.so.1)", _NO_DEVICE) from error
        tvm, self.device = begin(self.row)
        self.pool = Pool(self.device)
        try:
            self.prepare(f"sm_{str(self.device.compute_version).replace('.', '')}")
        except BuildRejected as error:
            raise Unavailable(str(error), _NO_COMPILER) from error
        info = self.described(tvm, str(self.device.device_name), cuda=_toolkit(), compiler=self._compiler)
        return msgspec.structs.replace(info, policy=self._policy())

    def prepare(self, architecture: str) -> None:
        """Set the target (`"sm_90"`) and find the compiler; needs no device.

        `TVM_CUDA_COMPILE_MODE` (`"nvrtc"`, `"nvcc"`) chooses as it does in TVM; else nvrtc where it works, as it takes
        a fraction of nvcc's time. Raises `BuildRejected` when no compiler works.
        """
        import tvm

        self.target = tvm.target.Target(self.row.options(arch=architecture))
        chosen = os.environ.get("TVM_CUDA_COMPILE_MODE", "").lower()
        failures = []
        for compiler in (chosen,) if chosen in _FORMATS else _FORMATS:
            self._compiler = compiler
            if not _present(compiler):
                failures.append(f"{compiler} is not there")
                continue
            try:
                self._compile(_PROBE)
            except BuildRejected as error:
                failures.append(str(error))
                continue
            tvm.register_global_func("tvm_callback_cuda_compile", self._binary, override=True)
            return
        raise BuildRejected("; ".join(failures))

    def compiled(self, functions: Any) -> Any:
        """The loaded module, its CUDA source already compiled. Raises `BuildRejected` when the compiler refuses it.

        TVM itself would compile at the first launch, when it is too late to call it a build error.
        """
        module = super().compiled(functions)
        for part in module.imports:
            source = str(part.inspect_source())
            self._binaries[source] = self._compile(source)
        return module

    def run(
        self, build: RuntimeBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `TvmRuntime.run`. Raises `DeviceLost` for an error that stays with the CUDA context."""
        try:
            return super().run(build, tensors, layouts, sizes)
        except Exception as error:
            # A CUDA error other than a refused launch stays with the context: every later call reports it again.
            if "CUDA" in str(error) and "INVALID_VALUE" not in str(error):
                raise DeviceLost(str(error)) from error
            raise

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of Relax's virtual machine on the device."""
        return cuda_reproducer(spec, sizes, layouts)

    def _policy(self) -> Policy:
        """The row's policy, or that of exact mathematics where nvcc's environment variable asks for it."""
        if self._compiler == "nvcc" and os.environ.get("TVM_CUDA_NVCC_NO_FAST_MATH"):
            return Policy(accuracy="ieee", source="CUDA C++ Programming Guide, Mathematical Functions")
        return self.row.policy

    def _binary(self, code: str) -> bytes:
        """TVM's callback: the binary of a source, made when it was built."""
        found = self._binaries.pop(code, None)
        return self._compile(code) if found is None else found

    def _compile(self, source: str) -> bytes:
        """The binary, kept between runs: nvcc takes seconds. Raises `BuildRejected` when the compiler refuses it."""
        return self._cache.made(lambda: self._made(source), self._compiler, _toolkit(), str(self.target), source)

    def _made(self, source: str) -> bytes:
        from tvm.support.nvcc import compile_cuda

        try:
            with self.target:
                binary = compile_cuda(source, target_format=_FORMATS[self._compiler], compiler=self._compiler)
        except Exception as error:  # RuntimeError from both, and whatever the bindings raise
            raise BuildRejected(f"{self._compiler}: {_complaint(str(error))}", source) from error
        return bytes(binary)


def _present(compiler: str) -> bool:
    if compiler == "nvcc":
        return shutil.which("nvcc") is not None
    try:
        return importlib.util.find_spec("cuda.bindings") is not None
    except ModuleNotFoundError:
        return False


def _complaint(message: str) -> str:
    """The compiler's errors, without the source that TVM repeats before them."""
    lines = [line.partition("error: ")[2] for line in message.splitlines() if "error: " in line]
    return "; ".join(lines or message.strip().splitlines()[-3:])[:_SAID]


@cache
def _toolkit() -> str:
    from tvm.support.nvcc import get_cuda_version

    try:
        return ".".join(map(str, get_cuda_version()))
    except (RuntimeError, OSError):
        return "unknown"
