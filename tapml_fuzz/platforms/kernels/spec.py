"""Platforms of the user's own, by the text behind `user:`: a kernel file, or a callable.

user:kernels/softmax.cl            a file with a header: .cl, .wgsl, .cu or .py (see `kernels.header`)
user:mykernels:softmax             a function of an importable module, on torch tensors on the CPU
user:mykernels:Ops.fast@cuda=gelu  another place, and the operator where the function is not named for it
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from tapml_fuzz.core.errors import BadKernel, UnknownPlatform
from tapml_fuzz.platforms.kernels.header import LANGUAGES, CallableHeader, parse, read

PREFIX = "user:"
_ROOM = "tapml_fuzz.platforms.kernels."
_CALLABLE = re.compile(
    r"(?P<module>[^\W\d][\w.]*):(?P<callable>[^\W\d][\w.]*)(?:@(?P<device>cpu|cuda))?(?:=(?P<operator>\S+))?"
)
_FORMS = "user:FILE with a header (.cl, .wgsl, .cu, .py), or user:MODULE:CALLABLE[@cuda][=OPERATOR]"


@dataclass(frozen=True)
class CallableSpec:
    """A callable: an attribute of a module, or of the file `path`, with its device, operators and input dtypes."""

    module: str
    path: Path | None
    callable: str
    device: str
    operators: tuple[str, ...]
    dtypes: tuple[str | tuple[str, ...], ...] = ()


def location_of(spec: str) -> str:
    """The `module:Class?spec` of the platform for `user:<spec>`.

    Raises `UnknownPlatform` for a spec that is neither a file nor a callable, `BadKernel` for a file that is not as it
    should be: before any worker starts.
    """
    path = Path(spec)
    if path.suffix in LANGUAGES and path.suffix != ".py":
        parse(path, read(_present(path)))
        return f"{_ROOM}platform:UserKernel?{spec}"
    kind = "CallableOnCuda" if callable_spec(spec).device == "cuda" else "CallableOnCpu"
    return f"{_ROOM}callable:{kind}?{spec}"


def callable_spec(spec: str) -> CallableSpec:
    """The callable that a spec names. Raises as `location_of` does."""
    path = Path(spec)
    if path.suffix == ".py":
        header = parse(path, read(_present(path)))
        assert isinstance(header, CallableHeader)
        return CallableSpec("", path, header.callable, header.device, header.operators, header.dtypes)
    found = _CALLABLE.fullmatch(spec)
    if found is None:
        raise UnknownPlatform(f"user:{spec[:200]} is neither a kernel file nor a callable", hint=_FORMS)
    name = found["callable"]
    operators = (found["operator"] or name.rsplit(".", 1)[-1],)
    return CallableSpec(found["module"], None, name, found["device"] or "cpu", operators)


def _present(path: Path) -> Path:
    """The path, if there is a file; raises `BadKernel` with those that come close."""
    if path.is_file():
        return path
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=3)
    raise BadKernel(f"there is no file {path}", hint=f"did you mean {' or '.join(close)}?" if close else _FORMS)
