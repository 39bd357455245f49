"""Integer expressions over the sizes of a call: the extents and scalars in a kernel's header.

    a * b           axes, and constants, by name     size(x0, -1)   an axis of a tensor
    ceildiv(n, 64)  also min, max                    numel(out0)    the number of its elements
    + - * // %      and parentheses                  argument(4)    a number among the operator's arguments

Nothing is ever handed to Python's `eval`: the parsed text is turned into functions, node by node, and what is not
listed here is refused. Text, depth and every value are bounded.
"""

from __future__ import annotations

import ast
import operator as op
import re
from collections.abc import Callable
from typing import Protocol

Number = int | float

TENSOR = re.compile(r"(x|out)(0|[1-9][0-9]?)")
_LONGEST = 200  # characters
_DEEPEST = 32  # parentheses and signs in each other: far more than a size needs, far below Python's recursion limit
_LARGEST = 1 << 63  # no dimension and no scalar argument holds more


class BadExpression(ValueError):
    """An error of one line: a text that is no expression, or an expression that has no value for a call."""


class Scope(Protocol):
    """The values of the names in an expression, for one call. Each method raises `BadExpression` for an unknown one."""

    def axis(self, name: str) -> Number:
        """The size of an axis of the operator, or the value of a constant."""

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of the tensor `x0` or `out0`."""

    def extent(self, tensor: str, axis: int) -> int:
        """One size of the tensor `x0` or `out0`; a negative `axis` counts from the end."""

    def argument(self, number: int) -> Number:
        """The operator's positional argument at that place, which must be a number."""


_Function = Callable[[Scope], Number]


def _ceildiv(a: Number, b: Number) -> Number:
    return -(-a // b)


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: op.add,
    ast.Sub: op.sub,
    ast.Mult: op.mul,
    ast.FloorDiv: op.floordiv,
    ast.Mod: op.mod,
}
_CALLS: dict[str, Callable[[Number, Number], Number]] = {"min": min, "max": max, "ceildiv": _ceildiv}


class Expression:
    """A parsed expression. Making one raises `BadExpression` when `text` is none."""

    def __init__(self, text: str | int | float) -> None:
        self.text = str(text)
        if len(self.text) > _LONGEST:
            raise BadExpression(f"an expression of {len(self.text)} characters; {_LONGEST} are allowed")
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise BadExpression(f"{self.text!r} is no expression: {reason}") from None
        self._function = self._compiled(tree.body, _DEEPEST)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def number(self, scope: Scope) -> Number:
        """The value for a call; raises `BadExpression` when it has none, or none within 64 bits."""
        try:
            return self._function(scope)
        except ZeroDivisionError:
            raise BadExpression(f"{self.text!r} divides by zero") from None

    def integer(self, scope: Scope) -> int:
        """The value for a call; raises `BadExpression` as `number` does, and for a value that is no integer."""
        value = self.number(scope)
        if not isinstance(value, int):
            raise BadExpression(f"{self.text!r} is {value!r}, not an integer")
        return value

    def _compiled(self, node: ast.expr, depth: int) -> _Function:
        if depth == 0:
            raise BadExpression(f"{self.text!r} is nested too deeply")
        match node:
            # A bool is an int to Python; here it is a slip of the pen.
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._constant(value)
            case ast.Name(id=name):
                return self._bounded(lambda scope: scope.axis(name))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._compiled(operand, depth - 1)
                return self._bounded(lambda scope: -inner(scope))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _BINARY:
                return self._applied(_BINARY[type(operation)], left, right, depth)
            case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _CALLS:
                return self._applied(_CALLS[name], left, right, depth)
            case ast.Call(func=ast.Name(id="size"), args=[ast.Name(id=tensor), axis], keywords=[]):
                return self._size(self._tensor(tensor), self._literal(axis))
            case ast.Call(func=ast.Name(id="numel"), args=[ast.Name(id=tensor)], keywords=[]):
                return self._numel(self._tensor(tensor))
            case ast.Call(func=ast.Name(id="argument"), args=[number], keywords=[]):
                place = self._literal(number)
                return self._bounded(lambda scope: scope.argument(place))
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        raise BadExpression(
            f"{part!r} is not allowed: numbers, axes, + - * // %, min, max, ceildiv, size, numel and argument are"
        )

    def _applied(
        self, function: Callable[[Number, Number], Number], left: ast.expr, right: ast.expr, depth: int
    ) -> _Function:
        first, second = self._compiled(left, depth - 1), self._compiled(right, depth - 1)
        return self._bounded(lambda scope: function(first(scope), second(scope)))

    def _constant(self, value: Number) -> _Function:
        return self._bounded(lambda scope: value)

    def _size(self, tensor: str, axis: int) -> _Function:
        return self._bounded(lambda scope: scope.extent(tensor, axis))

    def _numel(self, tensor: str) -> _Function:
        def numel(scope: Scope) -> int:
            count = 1
            for size in scope.shape(tensor):
                count *= size
            return count

        return self._bounded(numel)

    def _bounded(self, function: _Function) -> _Function:
        def bounded(scope: Scope) -> Number:
            value = function(scope)
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
                raise BadExpression(f"{self.text!r} exceeds 64 bits")
            return value

        return bounded

    def _tensor(self, name: str) -> str:
        if not TENSOR.fullmatch(name):
            raise BadExpression(
                f"{self.text!r}: {name} is no tensor; x0, x1, ... are the inputs, out0, ... the outputs"
            )
        return name

    def _literal(self, node: ast.expr) -> int:
        """An integer written out: which axis, or which argument."""
        match node:
            case ast.Constant(value=value) if type(value) is int:
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(value) is int:
                return -value
        raise BadExpression(f"{self.text!r}: which axis or argument is a plain integer")
