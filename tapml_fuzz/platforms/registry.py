"""Known platforms by name, a row each: adding one is a row in `PLATFORMS` and the file that the row names.

Every list of platforms, those of the tests included, is derived from these rows.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass

from tapml_fuzz.core.errors import UnknownPlatform
from tapml_fuzz.platforms.address import is_remote, split
from tapml_fuzz.platforms.base import Platform
from tapml_fuzz.platforms.kernels.spec import PREFIX, location_of


@dataclass(frozen=True)
class Row:
    """A platform as everyone knows it who has not started it.

    Attributes:
        name: as users type it.
        location: `module:Class`; the module is imported in the platform's worker, never before.
        reference_device: of a reference platform, the torch device on which a model runs for it; `""` for any other.
        on_request: why it is fuzzed only when it is named; `""` for one that is fuzzed by default.
    """

    name: str
    location: str
    reference_device: str = ""
    on_request: str = ""


_SECONDS_TO_COMPILE = "a build takes a C++ compiler or Triton seconds: a short run would spend its time on building"
_EXPORT = "an export to ONNX takes half a second"
_EXPORT_AND_COMPILE = "an export to ONNX takes half a second, IREE's compiler one more"

# One row a platform, all that is said of it outside its own file. Reference platforms stand first, the most mature of
# them before the others: the first that can run is what candidates are compared with.
PLATFORMS = (
    Row("torch-cuda", "tapml_fuzz.platforms.torch.eager:TorchCuda", reference_device="cuda"),
    Row("torch-cpu", "tapml_fuzz.platforms.torch.eager:TorchCpu", reference_device="cpu"),
    Row("torch-inductor", "tapml_fuzz.platforms.torch.inductor:TorchInductor", on_request=_SECONDS_TO_COMPILE),
    Row("torch-inductor-cuda", "tapml_fuzz.platforms.torch.inductor:TorchInductorCuda", on_request=_SECONDS_TO_COMPILE),
    Row("tvm-cuda", "tapml_fuzz.platforms.tvm.cuda:TvmCuda"),
    Row("tvm-llvm", "tapml_fuzz.platforms.tvm.native:TvmLlvm"),
    Row("tvm-c", "tapml_fuzz.platforms.tvm.c:TvmC", on_request="it differs from tvm-llvm in its last step alone"),
    Row("tvm-opencl", "tapml_fuzz.platforms.tvm.opencl:TvmOpenCL"),
    Row("tvm-webgpu", "tapml_fuzz.platforms.tvm.webgpu:TvmWebGPU"),
    Row("tvm-metal", "tapml_fuzz.platforms.tvm.native:TvmMetal"),
    Row("tvm-rocm", "tapml_fuzz.platforms.tvm.native:TvmRocm"),
    Row("tvm-vulkan", "tapml_fuzz.platforms.tvm.native:TvmVulkan"),
    Row(
        "tvm-webgpu-browser",
        "tapml_fuzz.platforms.browser.platform:TvmWebGPUBrowser",
        on_request="its WebAssembly takes a second to link",
    ),
    Row("onnxruntime-cpu", "tapml_fuzz.platforms.onnx.onnxruntime:OnnxRuntimeCpu", on_request=_EXPORT),
    Row("openvino-cpu", "tapml_fuzz.platforms.onnx.openvino:OpenVinoCpu", on_request=_EXPORT),
    Row("iree-llvm-cpu", "tapml_fuzz.platforms.onnx.iree.platform:IreeLlvmCpu", on_request=_EXPORT_AND_COMPILE),
    Row("iree-vulkan", "tapml_fuzz.platforms.onnx.iree.platform:IreeVulkan", on_request=_EXPORT_AND_COMPILE),
    Row("iree-cuda", "tapml_fuzz.platforms.onnx.iree.platform:IreeCuda", on_request=_EXPORT_AND_COMPILE),
)

_ROWS = {row.name: row for row in PLATFORMS}
_REMOTE = "tapml_fuzz.platforms.remote.platform:Remote"


def known() -> tuple[str, ...]:
    """Every platform's name, reference platforms first."""
    return tuple(_ROWS)


def references() -> dict[str, str]:
    """The reference platforms, most mature first, and the torch device on which a model runs for each."""
    return {row.name: row.reference_device for row in PLATFORMS if row.reference_device}


def on_request() -> dict[str, str]:
    """The platforms that are fuzzed only when they are named, and why."""
    return {row.name: row.on_request for row in PLATFORMS if row.on_request}


def candidates() -> tuple[str, ...]:
    """Every platform that is fuzzed by default: all but the reference platforms and those on request."""
    return tuple(row.name for row in PLATFORMS if not row.reference_device and not row.on_request)


def location(name: str) -> str:
    """The `module:Class` of a platform, with `?argument` where the class takes one.

    `user:...` is a kernel or callable of the user's; `NAME@rpc://HOST:PORT` and `NAME@tracker://HOST:PORT/KEY` are the
    platform NAME on another machine. Raises `UnknownPlatform` with the names that come close, `BadOption` for an
    address that is none, and for a user's own what `kernels.spec.location_of` raises.
    """
    if name.startswith(PREFIX):
        return location_of(name.removeprefix(PREFIX))
    if is_remote(name):
        local, _ = split(name)
        _known(local)
        return f"{_REMOTE}?{name}"
    return _known(name)


def _known(name: str) -> str:
    if name not in _ROWS:
        close = difflib.get_close_matches(name, _ROWS, n=3, cutoff=0.6)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else "`platforms` lists them; your own kernel is user:FILE or user:MODULE:CALLABLE"
        )
        raise UnknownPlatform(f"unknown platform {name!r}", hint=hint)
    return _ROWS[name].location


def load(where: str) -> Platform:
    """Import `module:Class?argument` and make the platform, not yet activated."""
    module, _, rest = where.partition(":")
    attribute, marked, argument = rest.partition("?")
    kind = getattr(importlib.import_module(module), attribute)
    platform: Platform = kind(argument) if marked else kind()
    return platform
