"""Known platforms by name. Adding one is one line here."""

from __future__ import annotations

import difflib
import importlib

from tapml_fuzz.core.errors import UnknownPlatform
from tapml_fuzz.platforms.address import is_remote, split
from tapml_fuzz.platforms.base import Platform
from tapml_fuzz.platforms.kernels.spec import PREFIX, location_of

# name -> "module:Class"; the module is imported in the platform's worker, never before.
_LOCATIONS = {
    "torch-cpu": "tapml_fuzz.platforms.torch.eager:TorchCpu",
    "torch-cuda": "tapml_fuzz.platforms.torch.eager:TorchCuda",
    "torch-inductor": "tapml_fuzz.platforms.torch.inductor:TorchInductor",
    "torch-inductor-cuda": "tapml_fuzz.platforms.torch.inductor:TorchInductorCuda",
    "tvm-cuda": "tapml_fuzz.platforms.tvm.cuda:TvmCuda",
    "tvm-llvm": "tapml_fuzz.platforms.tvm.native:TvmLlvm",
    "tvm-c": "tapml_fuzz.platforms.tvm.c:TvmC",
    "tvm-opencl": "tapml_fuzz.platforms.tvm.opencl:TvmOpenCL",
    "tvm-webgpu": "tapml_fuzz.platforms.tvm.webgpu:TvmWebGPU",
    "tvm-metal": "tapml_fuzz.platforms.tvm.native:TvmMetal",
    "tvm-rocm": "tapml_fuzz.platforms.tvm.native:TvmRocm",
    "tvm-vulkan": "tapml_fuzz.platforms.tvm.native:TvmVulkan",
    "tvm-webgpu-browser": "tapml_fuzz.platforms.browser.platform:TvmWebGPUBrowser",
    "onnxruntime-cpu": "tapml_fuzz.platforms.onnx.onnxruntime:OnnxRuntimeCpu",
    "iree-llvm-cpu": "tapml_fuzz.platforms.onnx.iree.platform:IreeLlvmCpu",
    "iree-vulkan": "tapml_fuzz.platforms.onnx.iree.platform:IreeVulkan",
    "iree-cuda": "tapml_fuzz.platforms.onnx.iree.platform:IreeCuda",
}

_REMOTE = "tapml_fuzz.platforms.remote.platform:Remote"

# Reference platforms, most mature first: what the candidates are compared with.
SOURCES = ("torch-cuda", "torch-cpu")

# Fuzzed only when named. A build of inductor's takes a C++ compiler or Triton seconds, so a short run would spend its
# time on building; `tvm-c` differs from `tvm-llvm` in its last step alone. The witnesses through ONNX take half a
# second to export an operator, and IREE one more to compile it; the browser's WebAssembly takes one to link.
ON_REQUEST = (
    "torch-inductor", "torch-inductor-cuda", "tvm-c", "tvm-webgpu-browser", "onnxruntime-cpu", "iree-llvm-cpu",
    "iree-vulkan", "iree-cuda",
)  # fmt: skip


def known() -> tuple[str, ...]:
    """Every platform's name, reference platforms first."""
    return tuple(_LOCATIONS)


def candidates() -> tuple[str, ...]:
    """Every platform that is fuzzed by default: all but the reference platforms and those on request."""
    return tuple(name for name in _LOCATIONS if name not in (*SOURCES, *ON_REQUEST))


def location(name: str) -> str:
    """The `module:Class` of a platform, with `?argument` where the class takes one.

    `user:...` is a kernel or callable of the user's; `NAME@rpc://HOST:PORT` and `NAME@tracker://HOST:PORT/KEY` are the
    platform NAME on another machine. Raises `UnknownPlatform` with the names that come close, `BadOption` for an
    address that is none, and for a user's own what `user.location_of` raises.
    """
    if name.startswith(PREFIX):
        return location_of(name.removeprefix(PREFIX))
    if is_remote(name):
        local, _ = split(name)
        _known(local)
        return f"{_REMOTE}?{name}"
    return _known(name)


def _known(name: str) -> str:
    if name not in _LOCATIONS:
        close = difflib.get_close_matches(name, _LOCATIONS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(_LOCATIONS)}"
        raise UnknownPlatform(f"unknown platform {name!r}", hint=hint)
    return _LOCATIONS[name]


def load(where: str) -> Platform:
    """Import `module:Class?argument` and make the platform, not yet activated."""
    module, _, rest = where.partition(":")
    attribute, marked, argument = rest.partition("?")
    kind = getattr(importlib.import_module(module), attribute)
    platform: Platform = kind(argument) if marked else kind()
    return platform
