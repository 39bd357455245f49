"""The values of the names in a kernel's header, for one operator at given dtypes and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from tapml_fuzz.core.operator import Float, Operator, Product
from tapml_fuzz.platforms.base import NotSupported
from tapml_fuzz.platforms.kernels.size_expression import BadExpression, Number

TensorSpec = tuple[tuple[int, ...], str]  # shape, dtype


class OpenAxis(Exception):
    """An exception for a value that depends on an axis that has no size yet."""

    def __init__(self, axis: str) -> None:
        super().__init__(axis)
        self.axis = axis


class CallScope:
    """A `size_expression.Scope`: axes, tensors (`x0`, `out0`, ...) and arguments of a call.

    Axes may be missing in `sizes`; what depends on one raises `OpenAxis`. `constants` are names besides the axes.
    """

    def __init__(
        self,
        operator: Operator,
        dtypes: tuple[str, ...],
        sizes: Mapping[str, int],
        constants: Mapping[str, Number] | None = None,
    ) -> None:
        self._operator, self._dtypes, self._sizes = operator, dtypes, sizes
        self._constants = constants or {}

    def axis(self, name: str) -> Number:
        """The constant of that name, or the size of the axis; raises `BadExpression` where there is neither."""
        if name in self._constants:
            return self._constants[name]
        if name in self._sizes:
            return self._sizes[name]
        if name in self._operator.axis_names:
            raise OpenAxis(name)
        known = ", ".join(self._operator.axis_names) or "none"
        raise BadExpression(f"there is no axis {name!r}; axes of {self._operator.describe()}: {known}")

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of `x0` or `out0`. Raises `BadExpression` where there is no such tensor."""
        return self.spec(tensor)[0]

    def extent(self, tensor: str, axis: int) -> int:
        """One size of a tensor; of an input it needs no other axis to have one."""
        number = self._input(tensor)
        if number is None:
            shape = self.spec(tensor)[0]
            return shape[_checked(tensor, axis, len(shape))]
        axes = self._operator.axes[number]
        return self._size(axes[_checked(tensor, axis, len(axes))])

    def spec(self, tensor: str) -> TensorSpec:
        """Shape and dtype of `x0` or `out0`. Raises `BadExpression` where there is no such tensor."""
        number = self._input(tensor)
        if number is not None:
            return tuple(self._size(size) for size in self._operator.axes[number]), self._dtypes[number]
        position = int(tensor.removeprefix("out"))
        if position < len(self.outputs):
            return self.outputs[position]
        raise BadExpression(f"there is no {tensor}: {self._operator.describe()} has {len(self.outputs)} outputs")

    def argument(self, number: int) -> Number:
        """A number among the operator's positional arguments; negative numbers count from the end.

        Raises `BadExpression` for an argument that is none.
        """
        arguments = self._operator.args
        template = arguments[number] if -len(arguments) <= number < len(arguments) else None
        match template:
            case Product():
                return self._size(template)
            case Float(text):
                return float(text)
            case bool():
                return int(template)
            case int() | float():
                return template
        raise BadExpression(f"argument {number} of {self._operator.describe()} is no number")

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Shape and dtype of every output in use, by torch's meta tensors: nothing is computed.

        Raises `NotSupported` where they depend on values.
        """
        import torch

        from tapml_fuzz.operators.invoke import call, torch_dtype

        sizes = {name: self._extent(name) for name in self._operator.axis_names}
        tensors = [
            torch.empty(shape, dtype=torch_dtype(dtype), device="meta")
            for shape, dtype in zip(self._operator.shapes(sizes), self._dtypes, strict=True)
        ]
        try:
            results = call(self._operator, tensors, sizes)
        except Exception as error:  # torch raises many types here
            lines = str(error).splitlines()
            raise NotSupported(f"torch cannot tell its outputs beforehand: {lines[0] if lines else error!r}") from error
        return tuple((tuple(result.shape), str(result.dtype).removeprefix("torch.")) for result in results)

    def _size(self, size: Product) -> int:
        value = size.constant
        for name in size.axes:
            value *= self._extent(name)
        return value

    def _input(self, tensor: str) -> int | None:
        """The slot of an input, None for an output."""
        if tensor.startswith("out"):
            return None
        number = int(tensor.removeprefix("x"))
        if number >= len(self._operator.axes):
            raise BadExpression(f"there is no {tensor}: {self._operator.describe()} takes {len(self._dtypes)} tensors")
        return number

    def _extent(self, axis: str) -> int:
        if axis not in self._sizes:
            raise OpenAxis(axis)
        return self._sizes[axis]


def _checked(tensor: str, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise BadExpression(f"there is no axis {axis} of {tensor}, which has {rank} axes")
    return axis
