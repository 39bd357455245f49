"""Many situations in one tensor, one a row."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.profile import Profile, profile_of
from tapml_fuzz.strategies.row_patterns import finite_rows, special_rows


@pytest.fixture
def rows() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)


def profile(array: np.ndarray) -> Profile:  # type: ignore[type-arg]
    return profile_of([array])


def test_the_first_row_stays_and_nothing_is_written_into(rows: np.ndarray) -> None:  # type: ignore[type-arg]
    before = rows.copy()
    for made in (finite_rows, special_rows):
        found = made(rows, profile(rows), np.random.default_rng(0))
        assert found.shape == rows.shape
        assert found.dtype == rows.dtype
        assert np.array_equal(found[0], rows[0])
        assert not np.array_equal(found, rows)
    assert np.array_equal(rows, before)


def test_finite_situations_are_finite_and_all_there(rows: np.ndarray) -> None:  # type: ignore[type-arg]
    found = finite_rows(rows, profile(rows), np.random.default_rng(0))
    assert np.isfinite(found).all()
    assert (found == 0).all(axis=-1).any(), "a row of zeros"
    assert any(np.ptp(row) == 0 and row.any() for row in found), "a constant row"
    assert any((np.diff(row) > 0).all() for row in found), "a rising row"
    assert any((np.diff(row) < 0).all() for row in found), "a falling row"
    assert any(np.array_equal(row[:4], -row[4:]) and row.any() for row in found), "a row that cancels"
    assert np.abs(found).max() > 100 * np.abs(rows).max()


def test_special_situations_are_all_there(rows: np.ndarray) -> None:  # type: ignore[type-arg]
    found = special_rows(rows, profile(rows), np.random.default_rng(0))
    for kind in (np.isnan, np.isposinf, np.isneginf):
        assert kind(found).any()
    assert (np.isposinf(found).any(-1) & np.isneginf(found).any(-1)).any(), "both infinities in one row"
    assert np.isneginf(found).all(-1).any(), "a fully masked row"
    assert (np.signbit(found) & (found == 0)).all(-1).any(), "a row of negative zeros"
    assert np.isnan(found[:, -1]).any(), "a NaN in the last place of a row"


def test_situations_go_from_ordinary_to_extreme(rows: np.ndarray) -> None:  # type: ignore[type-arg]
    found = special_rows(rows[:18], profile(rows), np.random.default_rng(0))
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[17]).all()


def test_few_rows_get_a_choice_of_their_own_every_time(rows: np.ndarray) -> None:  # type: ignore[type-arg]
    made = {finite_rows(rows[:1], profile(rows), np.random.default_rng(n)).tobytes() for n in range(12)}
    assert len(made) > 4


def test_integers_have_situations_of_their_own() -> None:
    x = np.arange(96, dtype=np.int32).reshape(12, 8)
    found = finite_rows(x, profile(x), np.random.default_rng(0))
    assert found.dtype == np.int32
    assert found.max() == 2**31 - 1
    assert (found == -(2**31) + 1).all(-1).any(), "a row of the lowest that does not trap"
    assert any(np.abs(row).max() < 10 and (row < 0).any() for row in found), "a row around zero"
    unsigned = x.astype(np.uint8)
    assert finite_rows(unsigned, profile(unsigned), np.random.default_rng(0)).dtype == np.uint8


def test_booleans_and_tensors_without_rows_stay() -> None:
    for x in (np.ones((3, 4), bool), np.array(1, np.float32), np.zeros((0, 4), np.float32)):
        assert finite_rows(x, profile(x), np.random.default_rng(0)) is x
