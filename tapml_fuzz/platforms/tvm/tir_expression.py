"""TVM's scalar expressions as Python functions of the sizes: what a host program computes before it launches."""

from __future__ import annotations

import math
import operator as op
from collections.abc import Callable, Mapping
from typing import Any

from tapml_fuzz.platforms.base import NotSupported

Number = int | float
Scalars = Mapping[int, Number]  # a variable's `key` -> its value
Function = Callable[[Scalars], Any]


def _truncated_quotient(a: int, b: int) -> int:
    """C's integer division, which rounds towards zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _truncated_remainder(a: int, b: int) -> int:
    return a - b * _truncated_quotient(a, b)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": op.add,
    "Sub": op.sub,
    "Mul": op.mul,
    "FloorDiv": op.floordiv,
    "FloorMod": op.mod,
    "Div": _truncated_quotient,
    "Mod": _truncated_remainder,
    "Min": min,
    "Max": max,
    "EQ": op.eq,
    "NE": op.ne,
    "LT": op.lt,
    "LE": op.le,
    "GT": op.gt,
    "GE": op.ge,
    "LShift": op.lshift,
    "RShift": op.rshift,
    "BitwiseAnd": op.and_,
    "BitwiseOr": op.or_,
    "BitwiseXor": op.xor,
    "And": lambda a, b: bool(a) and bool(b),
    "Or": lambda a, b: bool(a) or bool(b),
}

# By the operator's name without its namespace: TVM moved these from `tirx.` to `prim.`.
_CALLS: dict[str, Callable[..., Any]] = {
    "shift_left": op.lshift,
    "shift_right": op.rshift,
    "bitwise_and": op.and_,
    "bitwise_or": op.or_,
    "bitwise_xor": op.xor,
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
}


def key(variable: Any) -> int:
    """The identity of a variable (or buffer) in its program: an address, so keep the program meanwhile.

    As a key, the variable itself would be compared by TVM at every lookup, at a tenth of a small run's time.
    """
    return hash(variable)  # TVM's nodes hash by identity


def compiled(expression: Any) -> Function:
    """The expression as a function of a variable assignment; raises `NotSupported` for a node it does not know.

    Integers do not wrap: a value outside the node's dtype is the caller's to refuse.
    """
    kind = type(expression).__name__
    if kind in ("IntImm", "FloatImm"):
        value = expression.value
        return lambda scalars: value
    if isinstance(expression, int | float):
        return lambda scalars: expression
    if kind == "Var":
        variable = key(expression)
        return lambda scalars: scalars[variable]
    if kind in _BINARY:
        if kind in ("Div", "Mod") and "float" in str(expression.ty):
            raise NotSupported(f"host program: floating division {expression}")
        function, left, right = _BINARY[kind], compiled(expression.a), compiled(expression.b)
        return lambda scalars: function(left(scalars), right(scalars))
    if kind == "Not":
        inner = compiled(expression.a)
        return lambda scalars: not inner(scalars)
    if kind == "Cast":
        return _cast(expression)
    if kind == "Select":
        return _choice(expression.condition, expression.true_value, expression.false_value)
    name = expression.op.name.rpartition(".")[2] if kind == "Call" else ""
    if name == "if_then_else":
        return _choice(*expression.args)
    if name in _CALLS:
        called = _CALLS[name]
        arguments = [compiled(argument) for argument in expression.args]
        return lambda scalars: called(*(argument(scalars) for argument in arguments))
    raise NotSupported(f"host program: expression of kind {kind} in {str(expression)[:120]}")


def _cast(expression: Any) -> Function:
    inner, target = compiled(expression.value), dtype_name(expression)
    if target.startswith("float"):
        return lambda scalars: float(inner(scalars))
    if target == "bool":
        return lambda scalars: bool(inner(scalars))
    return lambda scalars: int(inner(scalars))


def _choice(condition: Any, yes: Any, no: Any) -> Function:
    test, first, second = compiled(condition), compiled(yes), compiled(no)
    return lambda scalars: first(scalars) if test(scalars) else second(scalars)


def dtype_name(expression: Any) -> str:
    """The scalar dtype of a TVM expression or variable, e.g. `"int64"`."""
    return str(expression.ty.dtype)
