"""The host side of TVM's GPU code as neutral steps: which kernels to launch, on what, how often.

TVM splits a tensor program into kernels and a host function that binds sizes, allocates temporaries and launches.
Platforms whose runtime the TVM wheel lacks (OpenCL, WebGPU) run the kernels themselves, so the host function has
to be interpreted (`tvm.host_steps`). It is taken before it is packed into TVM's calling convention, walked statement
by statement, and whatever is not understood is `NotSupported`: no launch is ever guessed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tapml_fuzz.core.dtypes import NAMES
from tapml_fuzz.platforms.base import NotSupported
from tapml_fuzz.platforms.tvm.host_steps import Allocate, Branch, HostCheck, HostFunction, Launch, Let, Loop, Step
from tapml_fuzz.platforms.tvm.tir_expression import Function, compiled, dtype_name, key


@dataclass(frozen=True)
class Kernel:
    """A kernel's signature: the dtypes of its scalar arguments, which follow its `buffers` buffer arguments."""

    name: str
    buffers: int
    scalars: tuple[str, ...]


@dataclass(frozen=True)
class HostProgram:
    """Host functions by name, kernel signatures by name, and the device source of all kernels."""

    functions: dict[str, HostFunction]
    kernels: dict[str, Kernel]
    source: str


def compile_kernels(functions: Any, target: Any) -> HostProgram:
    """Lower scheduled tensor programs for `target`: device source, kernel signatures and host functions.

    Raises `NotSupported` for a host function that is not understood, and whatever TVM raises.
    """
    import tvm

    building = importlib.import_module("tvm.tirx.build")  # `tvm.tirx.build` itself names the function in it
    capture = _capture()
    with tvm.transform.PassContext(opt_level=3, instruments=[capture]):
        pipeline, _, device_passes = tvm.tirx.get_default_tir_pipeline(target)
        split = pipeline(tvm.tirx.transform.BindTarget(target)(functions))
    if capture.module is None:
        raise NotSupported("this TVM's pipeline has no MakePackedAPI step to read the host function before")
    _, devices = building.split_host_device_mods(split)
    sources: list[str] = []
    kernels: dict[str, Kernel] = {}
    for device_target, device in devices.items():
        finished = device_passes()(device)
        sources.append(str(building.codegen_build(finished, device_target).inspect_source()))
        kernels.update({name.name_hint: _signature(name.name_hint, f) for name, f in finished.functions.items()})
    hosts = {
        name.name_hint: _host_function(name.name_hint, function)
        for name, function in capture.module.functions.items()
        if name.name_hint not in kernels
    }
    return HostProgram(hosts, kernels, "\n".join(sources))


def _capture() -> Any:
    """A pass instrument that keeps the module as it is just before host functions are packed."""
    import tvm

    @tvm.instrument.pass_instrument
    class Capture:
        module: Any = None

        def run_before_pass(self, module: Any, info: Any) -> None:
            if str(info.name).endswith(".MakePackedAPI"):
                self.module = module

    return Capture()


def _signature(name: str, function: Any) -> Kernel:
    pointers = [type(parameter.ty).__name__ == "PointerType" for parameter in function.params]
    buffers = sum(pointers)
    if not all(pointers[:buffers]):
        raise NotSupported(f"kernel {name} mixes buffers and scalars in its arguments")
    return Kernel(name, buffers, tuple(dtype_name(p) for p in function.params[buffers:]))


def _host_function(name: str, function: Any) -> HostFunction:
    host = HostFunction(name)
    aliases: dict[int, int] = {}
    for parameter in function.params:
        host.parameters.append(key(parameter))
        if type(parameter.ty).__name__ == "BufferType":
            host.dims[key(parameter)] = [(_bound(dim), compiled(dim)) for dim in parameter.ty.shape]
            aliases[key(parameter)] = key(parameter)
            if type(parameter.ty.elem_offset).__name__ == "Var":
                host.offsets.append(key(parameter.ty.elem_offset))
    host.steps = tuple(_walk(function.body, aliases))
    return host


def _bound(dim: Any) -> int | None:
    return key(dim) if type(dim).__name__ == "Var" else None


def _walk(statement: Any, aliases: dict[int, int]) -> list[Step]:
    kind = type(statement).__name__
    match kind:
        case "SeqStmt":
            return [step for part in statement.seq for step in _walk(part, aliases)]
        case "Bind":
            return [Let(key(statement.var), compiled(statement.value))]
        case "AllocBuffer":
            return [_allocate(statement.buffer, aliases)]
        case "DeclBuffer":
            _declare(statement, aliases)
            return []
        case "AttrStmt" if str(statement.attr_key) in ("compute_scope", "hand_threaded", "device_id", "device_type"):
            return _walk(statement.body, aliases)
        case "AssertStmt":
            message = "".join(str(part.value) for part in statement.message_parts)
            return [HostCheck(compiled(statement.condition), message)]
        case "IfThenElse":
            otherwise = () if statement.else_case is None else tuple(_walk(statement.else_case, aliases))
            return [Branch(compiled(statement.condition), tuple(_walk(statement.then_case, aliases)), otherwise)]
        case "For" if int(statement.kind) == 0 and (statement.step is None or _is_one(statement.step)):
            start, extent = compiled(statement.min), compiled(statement.extent)
            return [Loop(key(statement.loop_var), start, extent, tuple(_walk(statement.body, aliases)))]
        case "Evaluate":
            return _evaluate(statement.value, aliases)
    raise NotSupported(f"host program: statement of kind {kind}: {str(statement)[:160]}")


def _is_one(expression: Any) -> bool:
    return type(expression).__name__ == "IntImm" and expression.value == 1


def _evaluate(value: Any, aliases: Mapping[int, int]) -> list[Step]:
    if type(value).__name__ == "IntImm":  # TVM's no-operation
        return []
    name = value.op.name.rpartition(".")[2] if type(value).__name__ == "Call" else type(value).__name__
    if name != "call_ffi_kernel":
        raise NotSupported(f"host program: {name} on the host: {str(value)[:160]}")
    tags = [str(tag) for tag in value.attrs.launch_params]
    unknown = [tag for tag in tags if tag.split(".")[0] not in ("blockIdx", "threadIdx")]
    if unknown:
        raise NotSupported(f"host program: launch parameter {unknown[0]}")
    arguments = list(value.args[1:])
    extents = tuple(zip(tags, map(compiled, arguments[len(arguments) - len(tags) :]), strict=True))
    buffers: list[int] = []
    scalars: list[Function] = []
    for argument in arguments[: len(arguments) - len(tags)]:
        if _is_data(argument):
            buffers.append(_root(argument, aliases))
        else:
            scalars.append(compiled(argument))
    return [Launch(str(value.args[0].value), tuple(buffers), tuple(scalars), extents)]


def _is_data(expression: Any) -> bool:
    return type(expression).__name__ == "Call" and expression.op.name.rpartition(".")[2] == "buffer_data"


def _root(data: Any, aliases: Mapping[int, int]) -> int:
    """The parameter or allocation behind `buffer.data`."""
    if not _is_data(data) or key(data.args[0]) not in aliases:
        raise NotSupported(f"host program: data pointer {str(data)[:120]}")
    return aliases[key(data.args[0])]


def _declare(statement: Any, aliases: dict[int, int]) -> None:
    """A second buffer over the same memory; only one that begins where the first begins is understood."""
    offset = statement.buffer.ty.elem_offset
    if offset is not None and not (type(offset).__name__ == "IntImm" and offset.value == 0):
        raise NotSupported(f"host program: buffer {statement.buffer} at offset {offset}")
    aliases[key(statement.buffer)] = _root(statement.data, aliases)


def _allocate(buffer: Any, aliases: dict[int, int]) -> Allocate:
    scope, dtype = str(buffer.ty.storage_scope or "global"), str(buffer.ty.dtype.dtype)
    if scope != "global":
        raise NotSupported(f"host program: TVM hands kernels {buffer}, which it allocates in scope {scope} of the host")
    if dtype not in NAMES:
        raise NotSupported(f"host program: temporary of dtype {dtype}")
    aliases[key(buffer)] = key(buffer)
    return Allocate(key(buffer), tuple(map(compiled, buffer.ty.shape)), dtype)
