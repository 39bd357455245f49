"""Arrays and arguments as Python source that evaluates to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.platforms.python_source import arguments, attribute


def number(value: Any) -> str:
    """The shortest text that gives the element back at its own precision; `inf` and `nan` by name."""
    if isinstance(value, np.bool_ | bool):
        return str(bool(value))
    if isinstance(value, np.integer | int):
        return str(int(value))
    wide = float(value)
    if math.isnan(wide):
        return "nan"
    if math.isinf(wide):
        return "inf" if wide > 0 else "-inf"
    shortest = str(value)
    if float(shortest) != wide and type(value)(float(shortest)) != value:
        shortest = repr(wide)
    return shortest if any(c in shortest for c in ".e") else f"{shortest}.0"


def nested(array: Array) -> str:
    """The elements as nested lists, spelled by `number`."""
    if array.ndim == 0:
        return number(array[()])
    return f"[{', '.join(nested(row) if array.ndim > 1 else number(row) for row in array)}]"


def tensor_literal(array: Array) -> str:
    """A `torch.tensor(...)` expression; arrays with one value in all elements as `torch.full`."""
    dtype = f"dtype=torch.{name_of(array)}"
    if array.size == 0:
        return f"torch.empty({tuple(array.shape)}, {dtype})"
    flat = array.reshape(-1)
    if array.size > 8 and flat.tobytes() == flat[:1].tobytes() * array.size:
        return f"torch.full({tuple(array.shape)}, {number(flat[0])}, {dtype})"
    return f"torch.tensor({nested(array)}, {dtype})"


def call_arguments(case: Case, variable: str = "x{}", dtype: Callable[[str], str] | None = None) -> str:
    """The operator's argument list, tensors as variables: `x0, [384], x1, x2, 1e-12`.

    `dtype` spells a dtype attribute (default: `torch.float32` and the like).
    """
    spelled = dtype or (lambda name: attribute("torch", name))
    sizes = case.sizes
    return arguments(case.operator, lambda s: str(s.value(sizes)), variable.format, spelled, case.dtypes)


def as_layout(variable: str, layout: str) -> str | None:
    """A torch expression that stores `variable` in another memory layout (`core.case.Layout`); None for packed."""
    return {
        "transposed": f"{variable}.permute(*reversed(range({variable}.dim()))).contiguous()"
        f".permute(*reversed(range({variable}.dim())))",
        "strided": f"torch.stack([{variable}, torch.zeros_like({variable})], dim=-1).flatten(-2)[..., ::2]",
        "offset": f"torch.cat([torch.zeros(1, dtype={variable}.dtype), {variable}.reshape(-1)])[1:]"
        f".reshape({variable}.shape)",
    }.get(layout)
