"""Reading the sizes of a known operator off another call of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tapml_fuzz.core.operator import DType, Float, Operator, Product, Slot, Template
from tapml_fuzz.operators.axes import InferredCall


class _OtherCallError(Exception):
    """The call is not one of this operator."""


def infer_sizes(operator: Operator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> InferredCall | None:
    """The sizes and tensors of a call `name(*args, **kwargs)` of `operator`; None where constants or sizes differ."""
    tensors: dict[int, torch.Tensor] = {}
    observed: list[tuple[Product, int]] = []
    try:
        if len(args) != len(operator.args) or not operator.kwargs.keys() <= kwargs.keys():
            return None
        for template, value in zip(operator.args, args, strict=True):
            _walk(template, value, tensors, observed)
        for name, template in operator.kwargs.items():
            _walk(template, kwargs[name], tensors, observed)
    except _OtherCallError:
        return None
    ordered = tuple(tensors[i] for i in sorted(tensors))
    for axes, tensor in zip(operator.axes, ordered, strict=True):
        if len(axes) != tensor.dim():
            return None
        observed += zip(axes, tensor.shape, strict=True)
    sizes = solve_sizes(observed)
    return InferredCall(operator, sizes, ordered) if sizes is not None else None


def solve_sizes(observed: Sequence[tuple[Product, int]]) -> dict[str, int] | None:
    """The size of every axis name such that each product has the value observed, or None."""
    sizes: dict[str, int] = {}
    for product, value in sorted(observed, key=lambda pair: len(pair[0].axes)):
        missing = [name for name in product.axes if name not in sizes]
        if missing:
            known = Product(tuple(n for n in product.axes if n in sizes), product.constant).value(sizes)
            sizes.update(dict.fromkeys(missing, 1))
            sizes[missing[0]] = value // known if known else 0
    return sizes if all(product.value(sizes) == value for product, value in observed) else None


def _walk(
    template: Template, value: Any, tensors: dict[int, torch.Tensor], observed: list[tuple[Product, int]]
) -> None:
    match template:
        case Slot(index):
            if not isinstance(value, torch.Tensor):
                raise _OtherCallError
            tensors[index] = value
        case Product():
            observed.append((template, int(value)))
        case list() | tuple():
            if not isinstance(value, list | tuple) or len(value) != len(template):
                raise _OtherCallError
            for part, item in zip(template, value, strict=True):
                _walk(part, item, tensors, observed)
        case DType(name):
            if str(value) != f"torch.{name}":
                raise _OtherCallError
        case Float(text):
            if str(value) != text:
                raise _OtherCallError
        case _:
            if isinstance(value, torch.Tensor) or value != template:
                raise _OtherCallError
