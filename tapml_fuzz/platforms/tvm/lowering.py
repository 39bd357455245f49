"""An operator lowered by TVM to a straight sequence of tensor-program calls, read from the lowered Relax function.

The Relax pipeline of the target runs up to the point where every output has been allocated by the caller
(destination passing). What is left of `main` is walked node by node; a node that is not understood is
`NotSupported`, so no result can come from a function understood in part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, NeedsStatic, NotSupported
from tapml_fuzz.platforms.tvm.host_steps import HostFunction, ReadyLaunch
from tapml_fuzz.platforms.tvm.tir_expression import Function, Scalars, compiled, dtype_name, key

# How TVM says that it has no way to compile something, as opposed to breaking on it.
_REFUSAL = r"Unsupported function type|[Nn]ot (yet )?(supported|implemented)|unsupported dtype|: only support "
# Relax's tensor constants, by the class names of TVM up to 0.26 and since.
_CONSTANTS = ("Constant", "GenericConst")


@dataclass(frozen=True)
class TensorValue:
    """A tensor: a storage seen with a shape (several values may share one storage, by reshape)."""

    storage: int
    dims: tuple[Function, ...]
    dtype: str

    def shape(self, scalars: Scalars) -> tuple[int, ...]:
        """The sizes at given values of the shape variables."""
        return tuple(int(dim(scalars)) for dim in self.dims)


@dataclass(frozen=True)
class TensorProgramCall:
    """One tensor-program call: its name and, in order, tensors and scalars."""

    function: str
    arguments: tuple[TensorValue | Function, ...]


class Shaped(Protocol):
    """Anything with a shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, in order of the axes."""


@dataclass
class Program:
    """A lowered operator. Its storages are numbered: inputs first, then allocations, constants among them.

    Attributes:
        inputs: the parameters of `main`.
        axes: shape variable, by its `key` -> (input, axis) that gives its value.
        allocated: the values whose storage the runner makes before the calls.
        constants: storage -> contents, for constants of the graph.
        calls: in order.
        outputs: what `main` returns, flattened; an output may share its storage with an input or another output.
        functions: TVM module with the tensor programs called.
        storages: their number so far.
    """

    inputs: list[TensorValue] = field(default_factory=list)
    axes: dict[int, tuple[int, int]] = field(default_factory=dict)
    allocated: list[TensorValue] = field(default_factory=list)
    constants: dict[int, Array] = field(default_factory=dict)
    calls: list[TensorProgramCall] = field(default_factory=list)
    outputs: list[TensorValue] = field(default_factory=list)
    functions: Any = None
    storages: int = 0

    def scalars(self, tensors: Sequence[Shaped]) -> dict[int, int | float]:
        """The shape variables' values; raises `ValueError` when the tensors do not have the program's shapes."""
        scalars: dict[int, int | float] = {
            variable: tensors[index].shape[axis] for variable, (index, axis) in self.axes.items()
        }
        for number, (value, tensor) in enumerate(zip(self.inputs, tensors, strict=True)):
            if value.shape(scalars) != tensor.shape:
                raise ValueError(f"input {number} has shape {tensor.shape}, built for {value.shape(scalars)}")
        return scalars

    def launches(
        self,
        functions: Mapping[str, HostFunction],
        storages: Mapping[int, Any],
        scalars: Scalars,
        temporary: Callable[[tuple[int, ...], str], Any],
    ) -> Iterator[ReadyLaunch]:
        """The kernel launches of all calls, in order, each when the one before has been taken.

        `storages` gives the buffer of every storage (any object, handed on in the launches), `temporary` makes one.
        """
        for call in self.calls:
            arguments = [
                (a.shape(scalars), storages[a.storage]) if isinstance(a, TensorValue) else a(scalars)
                for a in call.arguments
            ]
            yield from functions[call.function].launches(arguments, temporary)

    def new_storage(self) -> int:
        """The number of one more storage."""
        self.storages += 1
        return self.storages - 1


def lower(spec: BuildSpec, target: Any, pipeline: Any) -> Program:
    """Export `spec`, import it into Relax and lower it for `target` with the passes of module `pipeline`.

    `pipeline` is `tvm.relax.backend.cpu_generic.pipeline` or its GPU twin. Raises `NeedsStatic` when a build spec with
    open axes fails at any step, else `NotSupported` (no converter, or no lowering) or `BuildRejected`.
    """
    import tvm
    from tvm.relax.frontend.torch import from_exported_program

    from tapml_fuzz.operators.export import NotExpressible, export, open_axes

    try:
        opened = bool(open_axes(spec.operator, spec.sizes))
        program = export(spec.operator, spec.dtypes, spec.sizes)
    except NotExpressible as error:
        fixed = set(spec.operator.axis_names) <= set(spec.sizes)
        raise (NotSupported(str(error)) if fixed else NeedsStatic(str(error), error.axes)) from error
    try:
        module = from_exported_program(program, run_ep_decomposition=False)  # `export` has decomposed it
        passes = [
            *pipeline.library_dispatch_passes(target),
            *pipeline.legalize_passes(target),
            *pipeline.dataflow_lower_passes(target),
        ]
        with target, tvm.transform.PassContext(opt_level=3):
            lowered = tvm.transform.Sequential(passes)(module)
    except Exception as error:  # TVM raises many types; each means that it would not compile this
        raise failure(error, opened) from error
    try:
        return _walk(lowered)
    except NotSupported as error:
        raise (NeedsStatic(str(error)) if opened else error) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Another TVM may spell its nodes differently: that is this reader's limit, not the compiler's fault.
        raise NotSupported(f"lowered function not understood: {type(error).__name__}: {error}") from error


def failure(error: Exception, opened: bool) -> Exception:
    """The outcome of an exception from inside TVM, as the exception that a platform's `build` raises.

    `NeedsStatic` with open axes; else `NotSupported` where TVM says that it has no way, `BuildRejected` where it broke.
    """
    message = f"{type(error).__name__}: {_last_lines(str(error))}"
    if opened:
        return NeedsStatic(message)
    if re.search(_REFUSAL, message):
        return NotSupported(message)
    return BuildRejected(message)


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[-3:])[-600:] if lines else "no message"


def _walk(module: Any) -> Program:
    import tvm

    main = module["main"]
    program = Program()
    known: dict[Any, Any] = {}  # Relax variable -> Value, tuple of them, or scalar Function
    for index, parameter in enumerate(main.params):
        dims = _dims(parameter.ty.shape)
        value = TensorValue(program.new_storage(), tuple(map(compiled, dims)), dtype_name(parameter))
        program.inputs.append(value)
        known[parameter] = value
        for axis, dim in enumerate(dims):
            if type(dim).__name__ == "Var":
                program.axes.setdefault(key(dim), (index, axis))
    if type(main.body).__name__ != "SeqExpr":
        raise NotSupported(f"Relax body of kind {type(main.body).__name__}")
    for block in main.body.blocks:
        for binding in block.bindings:
            if type(binding).__name__ != "VarBinding":
                raise NotSupported(f"Relax binding of kind {type(binding).__name__}")
            known[binding.var] = _evaluate(binding.value, known, program)
    program.outputs = _flat(_evaluate(main.body.body, known, program))
    programs = {
        name: function.with_attr("global_symbol", name.name_hint)
        for name, function in module.functions.items()
        if name.name_hint != "main"
    }
    program.functions = tvm.IRModule(programs)
    return program


def _evaluate(node: Any, known: Mapping[Any, Any], program: Program) -> Any:
    """The tensor or tuple that a Relax expression stands for; a call is appended to the program's calls."""
    kind = type(node).__name__
    if kind in ("Var", "DataflowVar"):
        return known[node]
    if kind == "Tuple":
        return tuple(_evaluate(item, known, program) for item in node.fields)
    if kind == "TupleGetItem":
        return _evaluate(node.tuple_value, known, program)[int(node.index)]
    if kind in _CONSTANTS:
        return _constant(node, program)
    if kind == "Call":
        return _call(node, known, program)
    raise NotSupported(f"Relax expression of kind {kind}: {str(node)[:120]}")


def _call(node: Any, known: Mapping[Any, Any], program: Program) -> Any:
    if type(node.op).__name__ == "GlobalVar":
        arguments = tuple(_argument(argument, known, program) for argument in node.args)
        program.calls.append(TensorProgramCall(node.op.name_hint, arguments))
        return ()
    name = (
        str(node.op.global_symbol) if type(node.op).__name__ == "ExternFunc" else str(getattr(node.op, "name", node.op))
    )
    if name == "relax.builtin.alloc_tensor":
        dims = tuple(map(compiled, _dims(node.args[0])))
        value = TensorValue(program.new_storage(), dims, str(node.args[1].value))
        program.allocated.append(value)
        return value
    if name in ("relax.reshape", "vm.builtin.reshape"):
        source = _evaluate(node.args[0], known, program)
        return TensorValue(source.storage, tuple(map(compiled, _dims(node.args[1]))), source.dtype)
    raise NotSupported(f"TVM left {name} unlowered")


def _argument(node: Any, known: Mapping[Any, Any], program: Program) -> TensorValue | Function:
    if type(node).__name__ in ("Var", "DataflowVar") and node not in known:
        return compiled(node)  # a shape variable
    if type(node).__name__ in ("Var", "DataflowVar", *_CONSTANTS, "TupleGetItem"):
        value = _evaluate(node, known, program)
        if not isinstance(value, TensorValue):
            raise NotSupported(f"tensor program called with {str(node)[:120]}")
        return value
    return compiled(node)


def _constant(node: Any, program: Program) -> TensorValue:
    tensor = node.data if type(node).__name__ == "Constant" else node.value
    data: Array = tensor.numpy()
    dims = tuple(compiled(int(extent)) for extent in data.shape)
    value = TensorValue(program.new_storage(), dims, str(tensor.dtype))
    program.constants[value.storage] = data
    return value


def _dims(shape: Any) -> list[Any]:
    if type(shape).__name__ != "ShapeExpr":
        raise NotSupported(f"a tensor of unknown shape: {str(shape)[:120]}")
    return list(shape.values)


def _flat(value: Any) -> list[TensorValue]:
    if isinstance(value, TensorValue):
        return [value]
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in _flat(item)]
    raise NotSupported("Relax function returns something that is no tensor")
