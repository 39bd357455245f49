"""The call of a user's callable in an operator's place: its arguments, and the fresh memory that it gets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import torch

from tapml_fuzz.core.operator import Operator, Slot
from tapml_fuzz.operators.invoke import resolve


class CallBinder:
    """Arguments for one callable. Attributes are passed by name to parameters of that name.

    `positional` says that the callable takes the operator's arguments as they stand in the call; otherwise it takes the
    tensors in order.
    """

    def __init__(self, function: Callable[..., Any], *, positional: bool = False) -> None:
        self._parameters, self._positional = _parameter_names(function), positional

    def as_called(self, operator: Operator) -> Operator:
        """The operator with the arguments that the callable gets, in place of its own."""
        templates = operator.args
        if self._positional:
            args, named = templates, {}
        else:
            args = tuple(t for t in templates if _holds_tensor(t))
            named = {n: t for n, t in zip(_schema_names(operator), templates, strict=False) if not _holds_tensor(t)}
        kwargs = {k: v for k, v in {**named, **operator.kwargs}.items() if self._takes(k)}
        return msgspec.structs.replace(operator, args=args, kwargs=kwargs)

    def arguments(
        self, operator: Operator, tensors: Sequence[Any], sizes: Mapping[str, int], dtype_of: Callable[[str], Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the call at `sizes`.

        `dtype_of` turns a dtype's name into the library's object.
        """
        return self.as_called(operator).bind(tensors, sizes, dtype_of=dtype_of)

    def _takes(self, name: str) -> bool:
        return self._parameters is None or name in self._parameters


@contextmanager
def fresh_memory_filled() -> Iterator[None]:
    """Within, torch fills `torch.empty` with NaN, so that an element that is never written shows.

    That is a side effect of its deterministic algorithms, which are as they were afterwards.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _holds_tensor(template: Any) -> bool:
    """Whether an argument of an operator is a tensor, or a list with one in it."""
    return isinstance(template, Slot) or (isinstance(template, list | tuple) and any(map(_holds_tensor, template)))


def _schema_names(operator: Operator) -> list[str]:
    """The names of the operator's positional arguments."""
    function: Any = resolve(operator.name)
    if operator.name.startswith("aten."):
        return [argument.name for argument in function._schema.arguments]
    return list(_parameter_names(function) or ())


def _parameter_names(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names that a callable takes as keywords; None when it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
