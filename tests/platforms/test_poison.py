"""Poison: never produced by a copy of something else, told from a value that only looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.dtypes import FLOATS, NAMES, limits, to_bits
from tapml_fuzz.platforms.poison import poisoned, suspicious, untouched, unwritten


@pytest.mark.parametrize("dtype", NAMES)
def test_untouched_is_seen_in_both_patterns(dtype: str) -> None:
    for which in (0, 1):
        array = poisoned((3, 4), dtype, which)
        assert str(array.dtype) == dtype
        assert untouched(array, which).all()
        assert not untouched(array, 1 - which).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_poison_is_a_quiet_nan(dtype: str) -> None:
    for which in (0, 1):
        array = poisoned((8,), dtype, which)
        assert np.isnan(array).all()
        quiet_bit = int(limits(dtype).nmant) - 1
        assert (to_bits(array) >> quiet_bit & 1).all()


def test_only_elements_poisoned_in_both_runs_count() -> None:
    first, second = poisoned((4,), "int32", 0), poisoned((4,), "int32", 1)
    assert unwritten([first], [second]) == (4,)
    second[1] = first[1]  # computed: the lookalike is the same in both runs
    second[2] = 7
    assert unwritten([first], [second]) == (2,)


def test_suspicion_needs_one_element() -> None:
    clean = np.zeros(5, np.float32)
    assert not suspicious([clean, np.zeros(0, np.float32)])
    clean[3] = poisoned((), "float32")
    assert suspicious([clean])
