"""TVM on devices that its own runtime knows and most wheels lack: Metal, ROCm, Vulkan."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildSpec, Info, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.tvm.cuda import FAST_MATH
from tapml_fuzz.platforms.tvm.reproducers import device_reproducer
from tapml_fuzz.platforms.tvm.runtime import DTYPES, RuntimeBuild, TvmRuntime

# Metal has neither float64 (Metal Shading Language specification 3.2, 2.1) nor, before its version 3.1, bfloat16.
_METAL = tuple(name for name in DTYPES if name not in ("float64", "bfloat16"))


@dataclass(frozen=True)
class Kind:
    """What is fixed about a kind of device.

    Attributes:
        device: TVM's name of the device.
        target: TVM's target, without its host and what only the device itself can tell.
        pipeline: package of the target's Relax passes below `tvm.relax.backend`, as `get_default_pipeline` chooses.
    """

    device: str
    target: Mapping[str, Any]
    pipeline: str
    dtypes: tuple[str, ...]
    policy: Policy

    def passes(self) -> Any:
        return importlib.import_module(f"tvm.relax.backend.{self.pipeline}.pipeline")


# WGSL's accuracy table is what both Metal (fast math, TVM's default) and Vulkan's SPIR-V guarantee: it was made so.
KINDS = {
    "tvm-llvm": Kind(
        "cpu", {"kind": "llvm"}, "cpu_generic", DTYPES,
        Policy(accuracy="ieee", source="LLVM's default code generation: no fast-math flags"),
    ),
    "tvm-cuda": Kind("cuda", {"kind": "cuda"}, "cuda", DTYPES, FAST_MATH),
    "tvm-opencl": Kind(
        "opencl", {"kind": "opencl"}, "gpu_generic", tuple(d for d in DTYPES if d not in ("float64", "float16")),
        Policy(flushes_subnormals=True, accuracy="opencl", source="OpenCL C 3.0, 7.4 (relative error) and 7.5.3"),
    ),
    "tvm-metal": Kind(
        "metal", {"kind": "metal"}, "gpu_generic", _METAL,
        Policy(
            flushes_subnormals=True, assumes_finite=True, accuracy="wgsl",
            source="Metal Shading Language specification, 1.6.3 (fast math) and 8 (numerical compliance)",
        ),
    ),
    "tvm-rocm": Kind(
        "rocm", {"kind": "rocm"}, "rocm", DTYPES,
        Policy(accuracy="ieee", source="HIP math API; no fast math"),
    ),
    "tvm-vulkan": Kind(
        "vulkan", {"kind": "vulkan"}, "gpu_generic", tuple(d for d in DTYPES if d != "bfloat16"),
        Policy(
            flushes_subnormals=True, assumes_finite=True, accuracy="wgsl",
            source="Vulkan, Precision and Operation of SPIR-V Instructions",
        ),
    ),
}  # fmt: skip


class TvmDevice(TvmRuntime):
    """Apache TVM on a device of this machine, where TVM was built with its runtime and code generator."""

    name: str
    where_from: str  # which TVM has it

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def activate(self) -> Info:
        device = self.kind.device
        elsewhere = f"{self.where_from}; or {self.name}@rpc://HOST:PORT on a machine that has it"
        if _is_wheel_without(device):
            raise Unavailable(f"this TVM has no {device} runtime", elsewhere)
        try:
            import tvm
        except (ImportError, OSError) as error:
            raise Unavailable(f"TVM cannot be imported: {error}", "pip install apache-tvm") from error
        if tvm.get_global_func(f"target.build.{device}", allow_missing=True) is None:
            raise Unavailable(f"this TVM has no {device} code generator", elsewhere)
        if tvm.get_global_func(f"device_api.{device}", allow_missing=True) is None:
            raise Unavailable(f"this TVM has no {device} runtime", elsewhere)
        self.device = tvm.device(device)
        if not self.device.exist:
            raise Unavailable(f"TVM sees no {device} device", elsewhere)
        found = tvm.target.Target.from_device(self.device)
        self.target = tvm.target.Target(found, tvm.target.Target("llvm"))
        return Info(
            self.name,
            True,
            device=str(self.device.device_name),
            versions={"apache-tvm": str(tvm.__version__)},
            capabilities=Capabilities(dtypes=self.kind.dtypes, strided=False, symbolic=True, empty=self.empty),
            policy=self.kind.policy,
        )

    def prepare(self) -> None:
        """Set the target as for a device that is not here: source is generated, nothing can be run."""
        import tvm

        self.target = tvm.target.Target({**self.kind.target, "host": {"kind": "llvm"}})

    def passes(self) -> Any:
        return self.kind.passes()

    def build(self, spec: BuildSpec) -> RuntimeBuild:
        for dtype in spec.dtypes:
            if dtype not in self.kind.dtypes:
                raise NotSupported(f"{self.kind.device} has no {dtype}")
        return super().build(spec)

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """By way of Relax's virtual machine on the device."""
        return device_reproducer(spec, sizes, layouts, self.kind.device)


def _is_wheel_without(device: str) -> bool:
    """Whether TVM's wheel, which keeps every device's runtime in a library of its own, lacks this one.

    It spares the second that TVM takes to import, wherever platforms are listed. Any other layout says no.
    """
    found = importlib.util.find_spec("tvm")
    if found is None or found.origin is None:
        return False
    libraries = [path.name for path in (Path(found.origin).parent / "lib").glob("libtvm_runtime*")]
    return any("_extra" in name for name in libraries) and not any(f"_{device}" in name for name in libraries)


class TvmMetal(TvmDevice):
    """Apache TVM, target `metal`."""

    name = "tvm-metal"
    where_from = "pip install apache-tvm on macOS"


class TvmRocm(TvmDevice):
    """Apache TVM, target `rocm`."""

    name = "tvm-rocm"
    where_from = "a TVM built with USE_ROCM"


class TvmVulkan(TvmDevice):
    """Apache TVM, target `vulkan`."""

    name = "tvm-vulkan"
    where_from = "a TVM built with USE_VULKAN"
