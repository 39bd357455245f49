from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.case import LAYOUTS, Case, as_laid_out
from tapml_fuzz.core.operator import Operator, Product, Slot

OPERATOR = Operator("aten.neg.default", (Slot(0),), {}, ((Product(("a",)), Product(("b",))),), ("float32",))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 4), (5,), ()])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_layouts_keep_values(layout: str, shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtypes.numpy_dtype(dtype))
    laid_out = as_laid_out(array, layout)  # type: ignore[arg-type]
    assert laid_out.shape == array.shape
    assert laid_out.dtype == array.dtype
    assert laid_out.tobytes() == array.tobytes()
    if shape == (3, 4) and layout in ("transposed", "strided"):
        assert not laid_out.flags.c_contiguous


def test_id_is_about_content() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    case = Case(OPERATOR, {"a": 2, "b": 3}, (x,))
    assert case.id == Case(OPERATOR, {"a": 2, "b": 3}, (np.asfortranarray(x),), origin="seed:1").id
    assert case.id != Case(OPERATOR, {"a": 2, "b": 3}, (x + 1,)).id
    assert case.id != Case(OPERATOR, {"a": 2, "b": 3}, (x,), ("strided",)).id


def test_bits_round_trip_keeps_nan_payloads() -> None:
    bits = np.array([0x7FC1, 0xFF81, 0x0001, 0x8000], np.uint16)
    array = bits.view(ml_dtypes.bfloat16)
    raw = dtypes.to_bits(array)
    assert raw.tolist() == bits.tolist()
    assert dtypes.to_bits(dtypes.from_bits(raw.tobytes(), "bfloat16", (4,))).tolist() == bits.tolist()
