"""TVM's targets, one row each: what is fixed about a target wherever it runs, and how a platform of it begins.

A row serves TVM's own runtime on this machine (`tvm.native`, `tvm.c`, `tvm.cuda`), another API that runs TVM's kernels
(`tvm.opencl`, `tvm.webgpu`, `browser`) and a plain TVM RPC server (`remote.tvm`) alike.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import Unavailable
from tapml_fuzz.platforms.devices.opencl import POLICY as OPENCL
from tapml_fuzz.platforms.devices.wgsl_types import POLICY as WGSL

_INSTALL = "pip install apache-tvm"
_ELSEWHERE = "; or {name}@rpc://HOST:PORT on a machine that has it"


@dataclass(frozen=True)
class TvmTarget:
    """One target of TVM's.

    Attributes:
        kind: TVM's name of the target and of its code generator.
        pipeline: package of the target's Relax passes below `tvm.relax.backend`, as `get_default_pipeline` chooses.
        dtypes, also_accepts: as in `Capabilities`, without what only a certain device adds.
        policy: what the specification of the target permits.
        hint: where to get a TVM, or a device, that has it.
        device: TVM's name of the device on which its own runtime runs it; empty where another API does.
        host: target of the code that launches kernels; None where the code itself is the processor's.
        over_rpc: whether a plain TVM RPC server can run it.
    """

    kind: str
    pipeline: str
    dtypes: tuple[str, ...]
    policy: Policy
    hint: str = _INSTALL
    device: str = ""
    also_accepts: tuple[str, ...] = ()
    host: Mapping[str, str] | None = None
    over_rpc: bool = False

    @property
    def takes_empty(self) -> bool:
        """Whether TVM's runtime runs programs with tensors of no elements: on processors only.

        For a device it makes one block of a launch of no blocks (`LaunchParamConfig::Extract` in
        thread_storage_scope.h, TVM 0.27), and that block uses memory which such a tensor does not have.
        """
        return self.device == "cpu"

    def options(self, **more: Any) -> dict[str, Any]:
        """The dictionary for `tvm.target.Target`; `more` is what only the device or the machine can tell."""
        facts = {"kind": self.kind, **more}
        if self.host is not None:
            facts.setdefault("host", dict(self.host))
        return facts

    def passes(self) -> Any:
        """The module with the target's Relax passes."""
        return importlib.import_module(f"tvm.relax.backend.{self.pipeline}.pipeline")


# What TVM's code generators for CPUs take; those that cannot print a dtype refuse it at build.
_ALL = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_LLVM = {"kind": "llvm"}
_WASM = {"kind": "llvm", "mtriple": "wasm32-unknown-unknown-wasm"}


def _but(*absent: str) -> tuple[str, ...]:
    return tuple(name for name in _ALL if name not in absent)


TARGETS = {
    "tvm-llvm": TvmTarget(
        "llvm", "cpu_generic", _ALL,
        Policy(accuracy="ieee", source="LLVM's default code generation: no fast-math flags"),
        device="cpu", over_rpc=True,
    ),
    # TVM prints the other float dtypes by CUDA's names (`half`), which C does not have. It names no default pipeline.
    "tvm-c": TvmTarget(
        "c", "cpu_generic", _but("float16", "bfloat16"),
        Policy(accuracy="ieee", source="ISO C, Annex F; the C library's mathematical functions"),
        device="cpu",
    ),
    "tvm-cuda": TvmTarget(
        "cuda", "cuda", _ALL,
        Policy(
            flushes_subnormals=True, accuracy="cuda-fast",
            source="CUDA C++ Programming Guide, intrinsic functions: TVM compiles with --use_fast_math",
        ),
        "an NVIDIA GPU with its driver; a TVM with CUDA's runtime", "cuda", host=_LLVM, over_rpc=True,
    ),
    # A device may have float64 and float16 too (`devices.opencl`).
    "tvm-opencl": TvmTarget(
        "opencl", "gpu_generic", _but("float64", "float16"), OPENCL, device="opencl", host=_LLVM, over_rpc=True,
    ),
    # int64 goes as int32 (`devices.wgsl_types`), a bool as the byte that TVM's kernels read. Adapters may have float16.
    "tvm-webgpu": TvmTarget(
        "webgpu", "gpu_generic", ("float32", "int32"), WGSL, also_accepts=("int64", "bool"), host=_LLVM,
    ),
    # tvmjs copies whole 32-bit words only; SwiftShader has no `shader-f16`.
    "tvm-webgpu-browser": TvmTarget(
        "webgpu", "gpu_generic", ("float32", "int32"), WGSL, also_accepts=("int64",), host=_WASM,
    ),
    # Metal has neither float64 (Metal Shading Language specification 3.2, 2.1) nor, before its version 3.1, bfloat16.
    # WGSL's accuracy table is what both Metal (fast math, TVM's default) and Vulkan's SPIR-V guarantee: it was made so.
    "tvm-metal": TvmTarget(
        "metal", "gpu_generic", _but("float64", "bfloat16"),
        Policy(
            flushes_subnormals=True, assumes_finite=True, accuracy="wgsl",
            source="Metal Shading Language specification, 1.6.3 (fast math) and 8 (numerical compliance)",
        ),
        "pip install apache-tvm on macOS" + _ELSEWHERE.format(name="tvm-metal"), "metal", host=_LLVM, over_rpc=True,
    ),
    "tvm-rocm": TvmTarget(
        "rocm", "rocm", _ALL,
        Policy(accuracy="ieee", source="HIP math API; no fast math"),
        "a TVM built with USE_ROCM" + _ELSEWHERE.format(name="tvm-rocm"), "rocm", host=_LLVM, over_rpc=True,
    ),
    "tvm-vulkan": TvmTarget(
        "vulkan", "gpu_generic", _but("bfloat16"),
        Policy(
            flushes_subnormals=True, assumes_finite=True, accuracy="wgsl",
            source="Vulkan, Precision and Operation of SPIR-V Instructions",
        ),
        "a TVM built with USE_VULKAN" + _ELSEWHERE.format(name="tvm-vulkan"), "vulkan", host=_LLVM, over_rpc=True,
    ),
}  # fmt: skip


def begin(target: TvmTarget, *, own_runtime: bool = True) -> tuple[Any, Any]:
    """The module tvm, which can generate code for `target`, and the first device of its own runtime.

    The device is None where another API is the runtime. Raises `Unavailable` where there is no such TVM, or its own
    runtime has no such device.
    """
    device = target.device if own_runtime else ""
    if device not in ("", "cpu") and is_wheel_without(device):
        raise Unavailable(f"this TVM has no {device} runtime", target.hint)
    try:
        import tvm
    except (ImportError, OSError) as error:
        raise Unavailable(f"TVM cannot be imported: {error}", _INSTALL) from error
    if tvm.get_global_func(f"target.build.{target.kind}", allow_missing=True) is None:
        raise Unavailable(f"this TVM has no {target.kind} code generator", target.hint)
    if not device:
        return tvm, None
    if tvm.get_global_func(f"device_api.{device}", allow_missing=True) is None:
        raise Unavailable(f"this TVM has no {device} runtime", target.hint)
    first = tvm.device(device)
    if not first.exist:
        raise Unavailable(f"TVM sees no {device} device", target.hint)
    return tvm, first


def is_wheel_without(device: str) -> bool:
    """Whether TVM's wheel, which keeps every device's runtime in a library of its own, lacks this one.

    It spares the second that TVM takes to import, wherever platforms are listed. Any other layout says no.
    """
    found = importlib.util.find_spec("tvm")
    if found is None or found.origin is None:
        return False
    libraries = [path.name for path in (Path(found.origin).parent / "lib").glob("libtvm_runtime*")]
    return any("_extra" in name for name in libraries) and not any(f"_{device}" in name for name in libraries)
