"""Expressions of a kernel's header: what they mean, and that nothing else than they can mean gets through."""

from __future__ import annotations

import pytest

from tapml_fuzz.core.operator import Float
from tapml_fuzz.platforms.kernels.scope import CallScope, OpenAxis
from tapml_fuzz.platforms.kernels.size_expression import BadExpression, Expression
from tests.platforms.operators import LAYER_NORM, SOFTMAX, A, B, X, aten

SCOPE = CallScope(LAYER_NORM, ("float32",) * 3, {"a": 6, "b": 10}, {"GROUP": 64})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a * b + 2", 62),
        ("a - b * (a + 1)", -64),
        ("b // 4 % 2", 0),
        ("-b // 4", -3),
        ("ceildiv(b, 4) * 4", 12),
        ("ceildiv(0, 4)", 0),
        ("min(a, b) + max(a, b)", 16),
        ("GROUP * a", 384),
        ("size(x0, -1)", 10),
        ("size(x0, 0)", 6),
        ("numel(x0) // size(x1, 0)", 6),
        ("numel(out0)", 60),
        ("size(out1, 0)", 6),
        ("argument(4)", 1e-5),
        (1e-12, 1e-12),
        (7, 7),
    ],
)
def test_values(text: str | int | float, value: float) -> None:
    assert Expression(text).number(SCOPE) == value


HOSTILE = [
    "__import__('os').system('true')",
    "().__class__.__bases__",
    "a.__class__",
    "[a for a in b]",
    "lambda: a",
    "a ** b",
    "a << 63",
    "a / b",
    "a if b else a",
    "'a' * b",
    "True",
    "1j",
    "min(a)",
    "min(*a, b)",
    "min(a, b, key=a)",
    "print(a, b)",
    "size(x0, a)",
    "size(x0, True)",
    "size(y, 0)",
    "size(x100, 0)",
    "numel(x0.data)",
    "argument(a)",
    "(a := 1)",
    "a; b",
    "a\nb",
    "",
    "\x00",
    "a +",
    "(" * 150 + "a" + ")" * 50,
    "-" * 199 + "1",
    "+".join(["a"] * 60),
    "9" * 201,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_expression_is_refused_before_it_is_evaluated(text: str) -> None:
    with pytest.raises(BadExpression) as refusal:
        Expression(text)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c", "no axis 'c'"),
        ("size(x7, 0)", "no x7"),
        ("size(out3, 0)", "no out3"),
        ("size(x1, 1)", "no axis 1 of x1, which has 1 axes"),
        ("argument(0)", "argument 0 of .* is no number"),
        ("argument(99)", "is no number"),
        ("a // (b - 10)", "divides by zero"),
        ("a % 0", "divides by zero"),
        ("*".join(["9999999999"] * 3), "exceeds 64 bits"),
        ("9" * 30, "exceeds 64 bits"),
    ],
)
def test_what_has_no_value_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadExpression, match=said):
        Expression(text).number(SCOPE)


def test_integers_are_asked_for_where_only_they_will_do() -> None:
    with pytest.raises(BadExpression, match="not an integer"):
        Expression("argument(4) * 2").integer(SCOPE)


def test_open_axis_is_named() -> None:
    scope = CallScope(SOFTMAX, ("float32",), {"a": 6})
    assert Expression("a + size(x0, 0)").number(scope) == 12
    for text in ("b", "numel(x0)", "size(out0, 0)"):
        with pytest.raises(OpenAxis) as needed:
            Expression(text).number(scope)
        assert needed.value.axis == "b"


def test_attributes_of_every_kind_of_number() -> None:
    operator = aten("full.default", [X, Float("-inf"), True, A, B], [(A,)])
    scope = CallScope(operator, ("float32",), {"a": 3, "b": 4})
    assert [Expression(f"argument({n})").number(scope) for n in (1, 2, 3, 4)] == [float("-inf"), 1, 3, 4]
