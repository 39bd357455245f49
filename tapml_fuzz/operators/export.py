"""An operator as a `torch.export` program: what every graph compiler takes as its input."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from tapml_fuzz.core.operator import Operator, Product
from tapml_fuzz.operators.invoke import call, torch_dtype

# Example sizes of open axes: primes, so that no size is a multiple of another (an export that specialises one axis to
# another's size shows up), none is 0 or 1 (which torch specialises), and five axes still make a small tensor.
_EXAMPLE_SIZES = (11, 13, 17, 19, 23, 29, 31, 37)


class NotExpressible(Exception):
    """The operator cannot be exported with these axes open (or at all, when none is).

    `axes` are the open axes that torch holds responsible, where it says so.
    """

    def __init__(self, message: str, axes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.axes = axes


class _Call(torch.nn.Module):
    """One operator call; the size of an open axis is read from the tensor axis that carries it alone."""

    def __init__(self, operator: Operator, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._operator = operator
        self._sizes = dict(sizes)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        sizes: dict[str, Any] = dict(self._sizes)
        for name, (slot, axis) in carriers(self._operator).items():
            if name not in self._sizes:
                sizes[name] = tensors[slot].shape[axis]
        return call(self._operator, tensors, sizes)


def carriers(operator: Operator) -> dict[str, tuple[int, int]]:
    """For every axis name that some tensor carries alone, the first (slot, axis) that does."""
    found: dict[str, tuple[int, int]] = {}
    for slot, axes in enumerate(operator.axes):
        for axis, size in enumerate(axes):
            if len(size.axes) == 1 and size.constant == 1:
                found.setdefault(size.axes[0], (slot, axis))
    return found


def open_axes(operator: Operator, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The axes that an export with `sizes` leaves open; raises `NotExpressible` when one cannot be."""
    missing = [name for name in operator.axis_names if name not in sizes]
    hidden = [name for name in missing if name not in operator.symbolic_axes]
    if hidden:
        raise NotExpressible(f"no tensor carries axis {', '.join(hidden)} alone, so its size must be given")
    return tuple(missing)


def export(operator: Operator, dtypes: Sequence[str], sizes: Mapping[str, int]) -> ExportedProgram:
    """Export and decompose `operator` at input `dtypes`; axes missing in `sizes` become dynamic dimensions.

    Raises `NotExpressible` with torch's own first line when torch cannot trace it so.
    """
    names = open_axes(operator, sizes)
    example = {**dict(zip(names, _EXAMPLE_SIZES, strict=False)), **sizes}
    # A single dynamic size in two tensors is one Dim object: torch then knows that they agree.
    dims = {name: Dim(f"axis_{index}", min=0) for index, name in enumerate(names)}
    dynamic = tuple(_dynamic(axes, dims, sizes) for axes in operator.axes)
    tensors = tuple(
        torch.zeros(shape, dtype=torch_dtype(dtype))
        for shape, dtype in zip(operator.shapes(example), dtypes, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.no_grad():
                shapes = {"tensors": dynamic} if tensors else None
                program = torch.export.export(_Call(operator, sizes), tensors, dynamic_shapes=shapes)
                return program if _is_decomposed(program) else _decomposed(program)
        except Exception as error:  # torch raises many types here; each means "not so"
            raise NotExpressible(f"torch.export: {_first_line(error)}", _blamed(error, names)) from error


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    decomposed: ExportedProgram = program.run_decompositions()
    return decomposed


def _is_decomposed(program: ExportedProgram) -> bool:
    """Tell whether `run_decompositions` would leave the graph as it is; it takes longer than the rest of an export."""
    implicit = torch._C.DispatchKey.CompositeImplicitAutograd
    return not any(
        node.target in _core_decompositions()
        or node.target.has_kernel_for_dispatch_key(implicit)
        or node.target._schema.is_mutable
        for node in program.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )


@cache
def _core_decompositions() -> frozenset[Any]:
    """The overloads that torch's default table decomposes."""
    return frozenset(torch.export.default_decompositions().keys())  # type: ignore[no-untyped-call]


def output_dtypes(operator: Operator, dtypes: Sequence[str], sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The dtypes torch gives the outputs at input `dtypes`, by name; raises `NotExpressible` when torch cannot say."""
    # Sizes do not matter here. Axes that every recorded call broadcast need not go together when all differ: then ones.
    names = open_axes(operator, sizes)
    for chosen in (_EXAMPLE_SIZES, (1,) * len(names)):
        example = {**dict(zip(names, chosen, strict=False)), **sizes}
        tensors = [
            torch.empty(shape, dtype=torch_dtype(dtype), device="meta")
            for shape, dtype in zip(operator.shapes(example), dtypes, strict=True)
        ]
        try:
            return tuple(str(output.dtype).removeprefix("torch.") for output in call(operator, tensors, example))
        except Exception as error:
            said = _first_line(error)
    raise NotExpressible(f"torch, on meta tensors: {said}")


def _dynamic(axes: Sequence[Product], dims: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[int, Any] | None:
    """`dynamic_shapes` of one tensor: a Dim, or a multiple of one, for each axis that is open."""
    chosen: dict[int, Any] = {}
    for axis, size in enumerate(axes):
        opened = [name for name in size.axes if name in dims]
        if len(opened) == 1:
            factor = math.prod((sizes[name] for name in size.axes if name not in dims), start=size.constant)
            chosen[axis] = dims[opened[0]] if factor == 1 else factor * dims[opened[0]]
        elif opened:
            # Dim arithmetic is linear in one Dim: a product of two is left to torch's inference.
            chosen[axis] = Dim.AUTO
    return chosen or None


def _blamed(error: Exception, names: Sequence[str]) -> tuple[str, ...]:
    """The open axes in torch's `Constraints violated (axis_1, axis_3)!`; none when it fails otherwise."""
    listed = re.search(r"Constraints violated \(([^)]*)\)", str(error))
    numbers = re.findall(r"\baxis_(\d+)\b", listed.group(1)) if listed else []
    return tuple(names[int(number)] for number in numbers if int(number) < len(names))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]
