from __future__ import annotations

import msgspec
import pytest

from tapml_fuzz.core.operator import DType, Float, Index, Operator, Product, Slot, decode_operator, encode_operator

A, B = Product(("a",)), Product(("b",))
VIEW = Operator("aten.view.default", (Slot(0), [A, B]), {}, ((Product(("a", "b")),),), ("float32",))


def test_canonical_json_round_trip() -> None:
    operator = Operator(
        "aten.example.default",
        (Slot(0), [Slot(1), 3, -1.5, None, True, "none"], Float("-inf")),
        {"dtype": DType("float16"), "size": [A, 2]},
        ((A, B), (Product(("a",), 2),)),
        ("float32", "int64"),
        (Index(1, A, True),),
    )
    again = decode_operator(encode_operator(operator))
    assert again == operator
    assert again.key == operator.key
    assert encode_operator(again) == encode_operator(operator)


def test_key_ignores_sizes_and_sees_attributes() -> None:
    assert VIEW.key.startswith("view-")
    other = msgspec.structs.replace(VIEW, args=(Slot(0), [B, A]))
    assert other.key != VIEW.key


def test_bind_fills_holes() -> None:
    args, kwargs = VIEW.bind(["tensor"], {"a": 2, "b": 3})
    assert args == ["tensor", [2, 3]]
    assert kwargs == {}
    assert VIEW.shapes({"a": 2, "b": 3}) == ((6,),)


def test_open_axes_are_those_a_shape_determines() -> None:
    assert VIEW.symbolic_axes == frozenset()
    merged = Operator("aten.view.default", (Slot(0), [Product(("a", "b"))]), {}, ((A, B),), ("float32",))
    assert merged.symbolic_axes == {"a", "b"}


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"[]", b"not json", b'{"name": "x", "args": [{"type": "system"}], "kwargs": {}, "axes": [], "dtypes": []}'],
)
def test_malformed_operators_are_rejected(raw: bytes) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        decode_operator(raw)
