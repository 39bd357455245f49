"""Values around what was observed."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.dtypes import largest, name_of
from tapml_fuzz.core.profile import Profile, profile_of
from tapml_fuzz.strategies import specials, values


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casts_keep_masks_finite(dtype: str) -> None:
    masked = np.array([0.0, np.finfo(np.float32).min, np.inf], np.float32)
    cast = values.stored(masked, dtype)
    assert name_of(cast) == dtype
    assert float(cast[1]) == -largest(dtype)
    assert np.isinf(float(cast[2]))


def test_resampled_values_follow_the_profile() -> None:
    random = np.random.default_rng(1)
    observed = random.normal(size=(400, 64)) * np.where(np.arange(64) == 5, 60.0, 1.0)
    profile = profile_of([observed.astype(np.float32)])
    fresh = values.resampled(profile, (300, 64), random)
    assert fresh.min() >= profile.low
    assert fresh.max() <= profile.high
    deviations = fresh.std(axis=0)
    assert deviations.max() > 15 * np.median(deviations)  # an outlier channel is still one
    marginal = values.resampled(profile_of([observed[:, :4].astype(np.float32)]), (4000,), random)
    assert np.isclose(np.median(marginal), np.median(observed[:, :4]), atol=0.15)


def test_resampling_a_mask_gives_its_values_and_nothing_gives_zeros() -> None:
    random = np.random.default_rng(0)
    mask = profile_of([np.array([0.0, -65504.0], np.float16)])
    assert set(values.resampled(mask, (50,), random).tolist()) == {0.0, -65504.0}
    assert not values.resampled(Profile("float32", structure="empty"), (2, 3), random).any()


def test_mutations_do_what_they_say() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 8)).astype(np.float32)
    before = x.copy()
    assert np.allclose(values.collapsed(x, 0.0).std(axis=-1), 0, atol=1e-6)
    assert np.allclose(values.collapsed(x, 0.5).std(axis=-1), x.std(axis=-1) / 2, rtol=1e-5)
    assert (values.equal_rows(x) == x[0]).all()
    assert (values.equal_elements(x) == x[:, :1]).all()
    assert (np.diff(values.sorted_rows(x, descending=False), axis=-1) >= 0).all()
    assert (np.diff(values.sorted_rows(x, descending=True), axis=-1) <= 0).all()
    scaled = values.channel_scaled(x, 100.0, random)
    assert ((scaled != x).any(axis=0)).sum() == 1
    assert np.array_equal(x, before), "mutations never write into the recorded tensor"
    for name in specials.SPECIALS:
        assert specials.placed(x, name, 0, random).tobytes() != b""
    assert np.array_equal(x, before)


def test_a_shift_counts_interquartile_ranges() -> None:
    x = np.linspace(0.0, 8.0, 81, dtype=np.float32)
    assert np.allclose(values.shifted(x, profile_of([x]), 10.0) - x, 40.0, atol=0.1)
    flat = np.full(9, 2.0, np.float32)
    assert (values.shifted(flat, profile_of([flat]), -1.0) == 1.0).all()


def test_outliers_lie_beyond_the_observed_extreme() -> None:
    x = np.linspace(-1.0, 3.0, 2048, dtype=np.float32)
    found = values.with_outliers(x, profile_of([x]), 10.0, np.random.default_rng(0))
    assert set(found[found != x].tolist()) == {30.0}
    assert 1 <= (found != x).sum() <= 4


def test_tiling_cuts_and_repeats() -> None:
    x = np.arange(6).reshape(2, 3)
    assert values.tiled(x, (1, 5)).tolist() == [[0, 1, 2, 0, 1]]
    assert values.tiled(x, (2, 3)) is x
    assert not values.tiled(np.zeros((0, 3)), (2, 3)).any()


def test_tensors_without_axes_or_elements_come_through() -> None:
    random = np.random.default_rng(0)
    for x in (np.array(2, np.float32), np.zeros((0, 4), np.float32)):
        profile = profile_of([x])
        for found in (
            values.collapsed(x, 0.0), values.equal_rows(x), values.equal_elements(x), values.sorted_rows(x, True),
            values.channel_scaled(x, 1.0, random), values.with_outliers(x, profile, 1.0, random),
        ):  # fmt: skip
            assert found.shape == x.shape
