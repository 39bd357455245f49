"""Special numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.dtypes import FLOATS, largest, name_of, numpy_dtype, smallest_normal, to_bits
from tapml_fuzz.strategies import specials


@pytest.mark.parametrize("dtype", FLOATS)
def test_specials_exist_in_every_dtype(dtype: str) -> None:
    assert 0 < specials.special("subnormal", dtype) < smallest_normal(dtype)
    assert specials.special("largest", dtype) == largest(dtype)
    for name in specials.SPECIALS:
        assert name_of(specials.special(name, dtype)) == dtype
    assert np.signbit(specials.special("negative-zero", dtype).astype(np.float64))
    payload = specials.special("nan-payload", dtype)
    assert np.isnan(payload.astype(np.float64))
    assert int(to_bits(payload)) == 2 ** (8 * numpy_dtype(dtype).itemsize) - 1


@pytest.mark.parametrize(("spread", "count"), [(0, 1), (1, 8), (2, 48)])
def test_a_special_goes_to_one_element_one_row_or_everywhere(spread: int, count: int) -> None:
    x = np.ones((2, 3, 8), np.float32)
    found = specials.placed(x, "nan", spread, np.random.default_rng(0))
    assert np.isnan(found).sum() == count
    assert spread != 1 or np.isnan(found).all(axis=-1).sum() == 1
    assert (x == 1).all(), "the recorded tensor is not written into"


def test_a_tensor_without_axes_and_one_without_elements() -> None:
    random = np.random.default_rng(0)
    assert np.isinf(specials.placed(np.array(1, np.float32), "inf", 1, random))
    assert specials.placed(np.zeros((0, 3), np.float32), "inf", 2, random).shape == (0, 3)


def test_integers_get_their_limits_but_none_that_traps() -> None:
    random = np.random.default_rng(0)
    x = np.full(6, 5, np.int32)
    for name, value in {"zero": 0, "one": 1, "largest": 2**31 - 1, "lowest": -(2**31) + 1}.items():
        found = specials.placed(x, name, 0, random)
        assert sorted(found.tolist()) == sorted([5] * 5 + [value])
    assert np.array_equal(specials.placed(x, "nan", 0, random), x)
    assert specials.integer_limits(np.zeros(1, np.int8)) == (-128, 127)
    assert specials.integer_limits(np.zeros(1, np.uint8)) == (0, 255)


def test_booleans_have_no_special_number() -> None:
    flags = np.array([True, False])
    assert specials.placed(flags, "largest", 2, np.random.default_rng(0)) is flags
