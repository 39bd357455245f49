"""Known platforms by name. Adding one is one line here."""

from __future__ import annotations

import difflib
import importlib

from tapml_fuzz.core.errors import UnknownPlatform
from tapml_fuzz.platforms.base import Platform

# name -> "module:Class"; the module is imported in the platform's worker, never before.
_LOCATIONS = {
    "torch-cpu": "tapml_fuzz.platforms.torch_eager:TorchCpu",
    "torch-cuda": "tapml_fuzz.platforms.torch_eager:TorchCuda",
    "tvm-llvm": "tapml_fuzz.platforms.tvm_llvm:TvmLlvm",
    "tvm-opencl": "tapml_fuzz.platforms.tvm_opencl:TvmOpenCL",
    "tvm-webgpu": "tapml_fuzz.platforms.tvm_webgpu:TvmWebGPU",
}

# Source platforms, most mature first: what the candidates are compared with.
SOURCES = ("torch-cuda", "torch-cpu")


def known() -> tuple[str, ...]:
    """Every platform's name, source platforms first."""
    return tuple(_LOCATIONS)


def candidates() -> tuple[str, ...]:
    """Every platform that is fuzzed by default: all but the source platforms."""
    return tuple(name for name in _LOCATIONS if name not in SOURCES)


def location(name: str) -> str:
    """The `module:Class` of a platform; raises `UnknownPlatform` with the names that come close."""
    if name not in _LOCATIONS:
        close = difflib.get_close_matches(name, _LOCATIONS, n=3, cutoff=0.4)
        mend = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(_LOCATIONS)}"
        raise UnknownPlatform(f"unknown platform {name!r}", mend=mend)
    return _LOCATIONS[name]


def load(where: str) -> Platform:
    """Import `module:Class` and make the platform, not yet activated."""
    module, _, attribute = where.partition(":")
    platform: Platform = getattr(importlib.import_module(module), attribute)()
    return platform
