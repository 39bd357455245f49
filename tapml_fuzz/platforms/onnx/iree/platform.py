"""IREE on the CPU, on Vulkan and on CUDA, from the ONNX model that torch makes."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, Info, NeedsStatic, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.build_cache import BuildCache
from tapml_fuzz.platforms.onnx.export import declared_dtype, exporter_missing, onnx_model
from tapml_fuzz.platforms.onnx.iree.module import FLAGS, IreeFunction, compile_mlir, onnx_to_mlir
from tapml_fuzz.platforms.onnx.iree.reproducer import iree_reproducer
from tapml_fuzz.platforms.onnx.shapes import check_shapes
from tapml_fuzz.platforms.poison import perturb_fresh_memory

_HINT = "pip install 'tapml_fuzz[iree]'"
_CPU_DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip


@dataclass(frozen=True)
class _Build:
    spec: BuildSpec
    function: IreeFunction


class _Iree:
    """A device of IREE's runtime by the name of its driver, and the compiler's flags for it."""

    name: str
    driver: str
    dtypes: tuple[str, ...]
    also_accepts: tuple[str, ...] = ()
    policy: Policy
    no_device: str  # what to do when the driver finds none
    empty = True  # whether the driver takes tensors of no elements

    def activate(self) -> Info:
        """See `base.Platform.activate`; the device is the driver's default."""
        missing = exporter_missing() or ("iree-base-compiler" if find_spec("iree.compiler") is None else "")
        if missing:
            raise Unavailable(f"not installed: {missing}", _HINT)
        try:
            import iree.runtime
        except (ImportError, OSError) as error:
            raise Unavailable(f"iree.runtime cannot be imported: {error}", _HINT) from error
        try:
            driver = iree.runtime.get_driver(self.driver)
            devices = driver.query_available_devices()
            device = driver.create_default_device() if devices else None
        except Exception as error:  # a missing loader shows as any of several types
            raise Unavailable(f"IREE's driver {self.driver}: {_line(error)}", self.no_device) from error
        if device is None:
            raise Unavailable(f"IREE's driver {self.driver} finds no device", self.no_device)
        self._runtime = iree.runtime
        self._config = iree.runtime.Config(device=device)
        self._flags = self.flags()
        self._compiler = (version("iree-base-compiler"), *FLAGS, *self._flags)
        self._cache = BuildCache("iree")
        return Info(
            self.name,
            True,
            device=self.device(devices[0]),
            versions={"iree-base-compiler": version("iree-base-compiler"), "onnxscript": version("onnxscript")},
            capabilities=Capabilities(self.dtypes, self.also_accepts, empty=self.empty),
            policy=self.policy,
        )

    def flags(self) -> tuple[str, ...]:
        """The compiler's flags for the device."""
        raise NotImplementedError

    def device(self, found: Mapping[str, Any]) -> str:
        """The device in words, from what the driver says of it."""
        return str(found["name"])

    def build(self, spec: BuildSpec) -> _Build:
        """See `base.Platform.build`. Raises `NotSupported` for an output of a dtype that the platform does not name.

        Modules are kept in the build cache by source, flags and the compiler's version.
        """
        model = onnx_model(spec)
        results = [declared_dtype(value) for value in model.graph.output]
        for dtype in results:
            if dtype not in (*self.dtypes, *self.also_accepts):
                raise NotSupported(f"an output is {dtype}, in which {self.name} does not compute")
        try:
            try:
                source = onnx_to_mlir(model)
            except Exception as error:
                raise BuildRejected(f"IREE's ONNX importer: {_line(error)}") from error
            module = self._cache.made(lambda: compile_mlir(source, self._flags), *self._compiler, source)
            try:
                function = IreeFunction(self._runtime, self._config, module, results)
            except Exception as error:
                raise BuildRejected(f"IREE's runtime cannot load the module: {_line(error)}", source) from error
        except BuildRejected as error:
            if set(spec.operator.axis_names) <= set(spec.sizes):
                raise
            raise NeedsStatic(str(error)) from error
        return _Build(spec, function)

    def run(
        self, build: _Build, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`. Raises `ValueError` for tensors that contradict the build."""
        check_shapes(build.spec, tensors, sizes)
        started = time.perf_counter()
        outputs = tuple(build.function(tensors))
        return Ok(outputs, time.perf_counter() - started, (0,) * len(outputs))

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of ONNX and IREE, with the flags and the driver of this platform."""
        return iree_reproducer(spec, layouts, self.driver, (*FLAGS, *self._flags))


class IreeLlvmCpu(_Iree):
    """IREE, target `llvm-cpu`, this machine's instructions, one thread."""

    name = "iree-llvm-cpu"
    driver = "local-sync"
    dtypes = _CPU_DTYPES
    # Seen to be so: 1e-40 + 1e-40 is 0.
    policy = Policy(
        flushes_subnormals=True,
        accuracy="ieee",
        source="IREE, fpu_state.h: the runtime flushes denormals to zero around every dispatch",
    )
    no_device = _HINT

    def activate(self) -> Info:
        """See `base.Platform.activate`; fresh memory of the process is perturbed from here on."""
        perturb_fresh_memory()
        return super().activate()

    def flags(self) -> tuple[str, ...]:
        """The flags for code of this machine's processor."""
        return (
            "--iree-hal-target-device=local",
            "--iree-hal-local-target-device-backends=llvm-cpu",
            "--iree-llvmcpu-target-cpu=host",
        )

    def device(self, found: Mapping[str, Any]) -> str:
        """The processor: what the driver says of itself names none."""
        return "this machine's CPU, driver local-sync, one thread"


class IreeVulkan(_Iree):
    """IREE, target `vulkan-spirv`, compiled for IREE's default profile, which any Vulkan 1.1 device should have."""

    name = "iree-vulkan"
    driver = "vulkan"
    # The profile has 32-bit arithmetic and storage. What is wider or narrower is emulated, and not well: of a tensor
    # whose bytes do not fill the last 32-bit word, the elements in that word are lost. int64 and bool are taken all
    # the same, since torch's indices and masks are, so that this shows.
    dtypes = ("float32", "int32")
    also_accepts = ("int64", "bool")
    # "Vulkan dispatch binding 0 resolved to an empty buffer range"
    empty = False
    # WGSL's table is Vulkan's (its section 15.7.4 refers to the same operations), with what SPIR-V derives.
    policy = Policy(
        flushes_subnormals=True,
        assumes_finite=True,
        accuracy="wgsl",
        source="Vulkan, appendix Precision and Operation of SPIR-V Instructions",
    )
    no_device = "a GPU driver with Vulkan; without a GPU: Debian's mesa-vulkan-drivers"

    def flags(self) -> tuple[str, ...]:
        """The flags for IREE's default profile of Vulkan."""
        return ("--iree-hal-target-device=vulkan",)


class IreeCuda(_Iree):
    """IREE, target `cuda`, compiled for the first device."""

    name = "iree-cuda"
    driver = "cuda"
    dtypes = _CPU_DTYPES
    # A dispatch of no blocks: "stream_command_buffer.c: CUDA_ERROR_INVALID_VALUE", and nothing runs after it.
    empty = False
    policy = Policy(accuracy="ieee", source="CUDA C Programming Guide, mathematical functions (libdevice)")
    no_device = "an NVIDIA GPU with its driver"

    def flags(self) -> tuple[str, ...]:
        """The flags for the first device's compute capability, at most 8.9; raises `OSError` without a driver."""
        return ("--iree-hal-target-device=cuda", f"--iree-cuda-target=sm_{min(_compute_capability(), _NEWEST)}")


# The newest GPU that IREE 3.13 can generate code for ("missing GPU target" for sm_90); the driver compiles its PTX
# for newer ones.
_NEWEST = 89
# CUDA Driver API, CUdevice_attribute.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def _compute_capability() -> int:
    """90 where the first device is of compute capability 9.0, as the driver says; raises `OSError`."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
        or driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
    )
    if failed:
        raise OSError(f"the CUDA driver answers with error {failed}")
    return 10 * major.value + minor.value


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:600]
