"""Inference of which integer tensors index which axis: known for aten overloads, else found by trial."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import torch

from tapml_fuzz.core.operator import Index, Operator, Slot
from tapml_fuzz.operators.examples import ParsedExample
from tapml_fuzz.operators.invoke import resolve


def with_indexes(operator: Operator, example: ParsedExample) -> Operator:
    """The operator with its `indexes`, found from its name or by trial on `example`."""
    found: list[Index] = []
    match operator.name.split(".")[:2]:
        case ["aten", "embedding"]:
            found = [Index(1, operator.axes[0][0])]
        case ["aten", "index" | "index_put" | "_unsafe_index"]:
            slots = [a.index if isinstance(a, Slot) else None for a in operator.args[1]]
            found = [
                Index(s, operator.axes[0][axis], negative=True)
                for axis, s in enumerate(slots)
                if s is not None and operator.dtypes[s] != "bool"
            ]
        case ["aten", "gather" | "index_select" | "scatter" | "scatter_add" | "index_add"]:
            dim, slot = operator.args[1], operator.args[2]
            if isinstance(dim, int) and isinstance(slot, Slot) and operator.axes[0]:
                found = [Index(slot.index, operator.axes[0][dim])]
        case _ if operator.name.startswith("python:"):
            found = list(_indexes_by_trial(operator, example))
    return msgspec.structs.replace(operator, indexes=tuple(found))


def _indexes_by_trial(operator: Operator, example: ParsedExample) -> Iterator[Index]:
    """An integer tensor indexes an axis when its size is the first value the operator rejects."""
    function = resolve(operator.name)

    def runs(slot: int, value: int) -> bool:
        tensors = [t.detach().cpu().clone() for t in example.tensors]
        if not tensors[slot].numel():
            return True
        tensors[slot].view(-1)[-1] = value
        args, kwargs = _rebuilt(example, tensors)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                function(*args, **kwargs)
        except Exception:  # the operator's way to say no
            return False
        return True

    for slot, dtype in enumerate(operator.dtypes):
        if not dtype.startswith(("int", "uint")):
            continue
        for other, axes in enumerate(operator.axes):
            size = next((n for n in example.tensors[other].shape if not runs(slot, n) and runs(slot, n - 1)), None)
            if other != slot and size is not None:
                axis = list(example.tensors[other].shape).index(size)
                yield Index(slot, axes[axis], negative=runs(slot, -1) and runs(slot, -size))
                break


def _rebuilt(example: ParsedExample, tensors: Sequence[torch.Tensor]) -> tuple[list[Any], dict[str, Any]]:
    supply = iter(tensors)
    keep = lambda value, path: value  # noqa: E731
    args = [example.rebuild(a, (), keep, supply) for a in example.args]
    return args, {k: example.rebuild(v, (), keep, supply) for k, v in example.kwargs.items()}
