"""A user's kernel in WGSL.

Binding n of group 0 is buffer n of the header's arguments; the scalars are one uniform struct behind the buffers, in
the order of the header, 4 bytes each.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.base import BuildRejected, Reproducer
from tapml_fuzz.platforms.compute_source import compute_source
from tapml_fuzz.platforms.devices.webgpu import BACKENDS, RAISED_LIMITS, WebGPUDevice
from tapml_fuzz.platforms.devices.webgpu_reproducer import helpers
from tapml_fuzz.platforms.devices.wgsl_types import POLICY, narrowed
from tapml_fuzz.platforms.kernels.backend import Compiled, KernelCall, LaunchSource
from tapml_fuzz.platforms.kernels.header import KernelHeader
from tapml_fuzz.platforms.python_source import text_block

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ENABLE = re.compile(r"^[ \t]*enable [^;]*;", re.MULTILINE)
_STORAGE = re.compile(
    r"((?:@(?:group|binding)\(\s*\d+[iu]?\s*,?\s*\)\s*){2})var\s*<\s*storage\s*(?:,\s*(\w+)\s*)?,?\s*>"
)
_NUMBER = re.compile(r"@(group|binding)\(\s*(\d+)")
_PACKED = {"i32": "i", "u32": "I", "f32": "f"}
_UNIFORM_SIZE = 16  # bytes; a uniform struct may be rounded up to this


class WgslKernels:
    """See `backend.Backend`. The launch's `workgroups` counts work groups; their size stands in the shader."""

    policy = POLICY
    type_names: Mapping[str, str] = {"float32": "f32", "float16": "f16", "int32": "i32", "int64": "i32"}

    def __init__(self) -> None:
        self._device = WebGPUDevice()
        self.description, self.versions = self._device.description, self._device.versions
        self.max_elements = self._device.max_elements
        self.outputs = self._device.dtypes
        self.inputs = (*self.outputs, "int64")  # an index, which goes as int32

    def with_constants(self, source: str, constants: Mapping[str, str], dtypes: Iterable[str]) -> str:
        """The source with the constants on its first line, which is a comment of the header or before it.

        Directives come before anything else in a module (WGSL, 4.1).
        """
        types = set(self.type_names.values())
        spelled = [f"{'alias' if v in types else 'const'} {n} = {v};" for n, v in constants.items()]
        found = [match.group().strip() for match in _ENABLE.finditer(source)] if spelled else []
        if "float16" in dtypes and "enable f16;" not in found:
            found.insert(0, "enable f16;")
        rest = _ENABLE.sub("", source) if spelled else source
        return "".join(f"{part} " for part in (*found, *spelled)) + rest

    def compile(self, source: str, header: KernelHeader) -> Compiled:
        """Make the pipeline. Raises `BuildRejected` where the shader is refused or lacks a buffer's binding."""
        access = _accesses(source)
        missing = [name for number, name in enumerate(header.buffers) if number not in access]
        if missing:
            place = f"@group(0) @binding({header.buffers.index(missing[0])}) var<storage, ...>"
            raise BuildRejected(f"{missing[0]} has no `{place}` in the shader", source)
        pipeline = self._device.pipeline(source, header.kernel, _kinds(source, header))
        writable = [name for number, name in enumerate(header.buffers) if access[number] == "read_write"]
        return Compiled(pipeline, tuple(writable))

    def prepared(self, array: Array) -> Array:
        """The array, with int32 for int64. Raises `NotSupported` for an int64 value beyond 32 bits."""
        return narrowed(array)

    def converted(self, dtype: str) -> str:
        """See `backend.Backend`: `".int()"` for int64, else nothing."""
        return ".int()" if dtype == "int64" else ""

    def upload(self, array: Array) -> Any:
        """A WebGPU buffer with the array's contents."""
        return self._device.upload(array)

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """The buffer's contents as a packed array; waits for the dispatch before."""
        return self._device.download(buffer, shape, dtype)

    def launch(self, compiled: Compiled, call: KernelCall, buffers: Mapping[str, Any]) -> None:
        """Dispatch the work groups with every buffer and, where there are scalars, the uniform struct."""
        bound = [buffers[name] for name in call.arguments if isinstance(name, str)]
        self._device.dispatch(compiled.kernel, _workgroups(call), bound, _uniform(call))

    def finish(self) -> None:
        """Return at once: reading a buffer back waits."""

    def reproducer(self, source: str, header: KernelHeader, call: KernelCall, steps: LaunchSource) -> Reproducer:
        """See `backend.Backend.reproducer`; the script needs wgpu."""
        bound = "".join(f", {steps.buffers[name]}" for name in call.arguments if isinstance(name, str))
        launch = f"launch(kernel, {_workgroups(call)}, {_uniform(call)!r}{bound})"
        return Reproducer(
            ("import wgpu",),
            f"SOURCE = {text_block(source)}\n\n{helpers(BACKENDS, RAISED_LIMITS)}"
            + compute_source(
                steps.given,
                [f"kernel = pipeline(SOURCE, {header.kernel!r}, {_kinds(source, header)!r})"],
                [*steps.lines, *([] if call.empty else [launch])],
                steps.outputs,
            ),
        )


def _accesses(source: str) -> dict[int, str]:
    """The access of every storage binding of group 0: `"read"` where the shader names none (WGSL, 14.3)."""
    found = {}
    for attributes, access in _STORAGE.findall(_COMMENT.sub(" ", source)):
        places = {name: int(number) for name, number in _NUMBER.findall(attributes)}
        if places.get("group") == 0 and "binding" in places:
            found[places["binding"]] = access or "read"
    return found


def _kinds(source: str, header: KernelHeader) -> list[str]:
    """The type of each binding in WebGPU's words, in the order of the buffers; the uniform struct is last."""
    access = _accesses(source)
    kinds = ["storage" if access.get(n) == "read_write" else "read-only-storage" for n in range(len(header.buffers))]
    return kinds + (["uniform"] if header.scalars else [])


def _workgroups(call: KernelCall) -> tuple[int, ...]:
    return (*call.extents["workgroups"], 1, 1)[:3]


def _uniform(call: KernelCall) -> bytes:
    if not call.scalars:
        return b""
    packing = "".join(_PACKED[scalar.type] for scalar in call.scalars)
    data = struct.pack(f"<{packing}", *(scalar.value for scalar in call.scalars))
    return data.ljust(-(-len(data) // _UNIFORM_SIZE) * _UNIFORM_SIZE, b"\0")
