"""An operator's `torch.export` program as source: how a reproducer begins that exports the operator.

It spells out what `operators.export` does for one build spec: the axes it leaves open are open in the script, the
others are numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from tapml_fuzz.core.operator import Product
from tapml_fuzz.operators.export import carriers, open_axes
from tapml_fuzz.platforms.base import BuildSpec
from tapml_fuzz.platforms.python_source import arguments, attribute, function, results

# Example sizes of open axes: primes, so that none is a multiple of another, as in `operators.export`.
_EXAMPLES = (11, 13, 17, 19, 23, 29, 31, 37)


def exported(spec: BuildSpec) -> str:
    """Source of a module that calls the operator, and of `exported()`, which gives its decomposed program.

    It needs `torch` and, by `from torch.export import Dim`, `Dim`.
    """
    operator, tensors = spec.operator, len(spec.operator.axes)
    opened = open_axes(operator, spec.sizes)
    variables = {name: _variable(name, number) for number, name in enumerate(opened)}
    size = _Sizes(spec.sizes, variables)
    shown = arguments(operator, size, "x{}".format, dtypes=spec.dtypes)
    places = carriers(operator)
    reads = [
        f"        {variable} = x{places[name][0]}.shape[{places[name][1]}]"
        for name, variable in variables.items()
        if variable in size.used
    ]
    dims = [f'    {variable} = Dim("axis_{number}", min=0)' for number, variable in enumerate(variables.values())]
    dynamic = [_dynamic(axes, size) for axes in operator.axes]
    option = f", dynamic_shapes=({', '.join(dynamic)},)" if tensors and any(d != "None" for d in dynamic) else ""
    return "\n".join([
        "class Operator(torch.nn.Module):",
        f"    def forward({', '.join(['self', *(f'x{slot}' for slot in range(tensors))])}):",
        *reads,
        f"        result = {function(operator.name)}({shown})",
        *(f"        {line}" for line in results(operator)),
        "        return tuple(results)",
        "",
        "",
        "def exported():",
        *dims,
        "    examples = (",
        *_examples(spec, opened),
        "    )",
        "    with torch.no_grad():",
        f"        program = torch.export.export(Operator(), examples{option})",
        "    return program.run_decompositions()",
        "",
    ])  # fmt: skip


def _examples(spec: BuildSpec, opened: Sequence[str]) -> list[str]:
    shapes = spec.operator.shapes({**dict(zip(opened, _EXAMPLES, strict=False)), **spec.sizes})
    return [
        f"        torch.zeros({shape!r}, dtype={attribute('torch', dtype)}),"
        for shape, dtype in zip(shapes, spec.dtypes, strict=True)
    ]


class _Sizes:
    """Spells a size: fixed axes as one number, open ones by their variables, which are then `used`."""

    def __init__(self, fixed: Mapping[str, int], variables: Mapping[str, str]) -> None:
        self._fixed, self._variables = fixed, variables
        self.used: set[str] = set()

    def opened(self, size: Product) -> list[str]:
        return [self._variables[name] for name in size.axes if name in self._variables]

    def __call__(self, size: Product) -> str:
        factor = math.prod((self._fixed[n] for n in size.axes if n not in self._variables), start=size.constant)
        opened = self.opened(size)
        self.used.update(opened)
        return " * ".join(([] if factor == 1 and opened else [str(factor)]) + opened)


def _dynamic(axes: Sequence[Product], size: _Sizes) -> str:
    """One tensor's entry of `dynamic_shapes`; see `operators.export`."""
    chosen = []
    for axis, product in enumerate(axes):
        opened = size.opened(product)
        if opened:
            # Dim arithmetic is linear in one Dim: a product of two is left to torch's inference.
            chosen.append(f"{axis}: {size(product) if len(opened) == 1 else 'Dim.AUTO'}")
    return f"{{{', '.join(chosen)}}}" if chosen else "None"


def _variable(name: str, number: int) -> str:
    return f"size_{name}" if re.fullmatch(r"[A-Za-z0-9_]{1,40}", name) else f"open_{number}"
