"""Calling an operator in torch: the one definition of what an operator means."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import torch

from tapml_fuzz.core.dtypes import Array, numpy_dtype
from tapml_fuzz.core.errors import UnknownOperator
from tapml_fuzz.core.operator import Operator

# Callables given to `check`, by `Operator.name`. Only names that begin with "python:" are looked up here, and
# nothing read from a file can add one: a corpus names aten overloads only.
_callables: dict[str, Callable[..., Any]] = {}


def register(name: str, function: Callable[..., Any]) -> str:
    """Make a user's torch callable known in this process; gives its name.

    That is `name` (which begins with `"python:"`), with a number behind it where another callable has it already:
    two lambdas are two operators.
    """
    for number in itertools.count(1):
        unique = name if number == 1 else f"{name}#{number}"
        if _callables.setdefault(unique, function) is function:
            return unique
    raise AssertionError("unreachable")


@cache
def _overload(name: str) -> Callable[..., Any]:
    parts = name.split(".")
    if len(parts) == 3 and parts[0] == "aten" and all(p.replace("_", "a").isalnum() for p in parts):
        packet = getattr(torch.ops.aten, parts[1], None)
        found = getattr(packet, parts[2], None) if packet is not None else None
        if isinstance(found, torch._ops.OpOverload):
            return found
    raise UnknownOperator(f"unknown operator {name!r}", hint="give an aten overload such as aten.softmax.int")


def resolve(name: str) -> Callable[..., Any]:
    """The torch callable behind an operator's name; raises `UnknownOperator`."""
    if name.startswith("python:"):
        if name not in _callables:
            raise UnknownOperator(f"{name!r} is not known in this process", hint="pass the callable to check()")
        return _callables[name]
    return _overload(name)


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of that name."""
    return getattr(torch, name)  # type: ignore[no-any-return]


def to_torch(array: Array) -> torch.Tensor:
    """A torch tensor over the same memory (strides kept; a copy where one is negative); bfloat16 goes by its bits."""
    if any(stride < 0 for stride in array.strides):  # torch has none, not even on an axis of one element
        array = array.copy()
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(tensor: torch.Tensor) -> Array:
    """A packed numpy array with the tensor's values; bfloat16 goes by its bits."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(numpy_dtype("bfloat16"))
    return tensor.numpy()


def call(operator: Operator, tensors: Sequence[torch.Tensor], sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """Run the operator eagerly; the outputs that are used, as a flat tuple of tensors.

    A `DType("input")` attribute takes the dtype of the first floating tensor. Raises what torch raises.
    """
    floating = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    args, kwargs = operator.bind(
        tensors, sizes, dtype_of=lambda name: floating if name == "input" else torch_dtype(name)
    )
    return tuple(operator.used(flatten(resolve(operator.name)(*args, **kwargs))))


def flatten(result: Any) -> tuple[torch.Tensor, ...]:
    """The tensors in a result that is a tensor or a (nested) sequence of tensors; other leaves are dropped."""
    if isinstance(result, torch.Tensor):
        return (result,)
    if isinstance(result, tuple | list):
        return tuple(t for item in result for t in flatten(item))
    return ()
