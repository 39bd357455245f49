from __future__ import annotations

import numpy as np

from tapml_fuzz.core.profile import PROBABILITIES, ProfileBuilder, profile_of


def test_range_and_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    profile = profile_of([values])
    assert profile.low == float(f"{values.min():.7g}") or np.isclose(profile.low, values.min())
    assert profile.structure == "dense"
    assert len(profile.quantiles) == len(PROBABILITIES)
    assert list(profile.quantiles) == sorted(profile.quantiles)
    assert profile.quantiles[0] <= values.min() * (1 - 1e-6) or np.isclose(profile.quantiles[0], values.min())


def test_outlier_channel_is_kept() -> None:
    values = np.random.default_rng(0).normal(size=(100, 96)).astype(np.float32)
    values[:, 17] = values[:, 17] * 80 + 5
    profile = profile_of([values])
    assert profile.outlier_channels == np.float32(1 / 96) or np.isclose(profile.outlier_channels, 1 / 96)
    assert max(deviation for _, deviation in profile.channels) > 60


def test_masks_indices_constants() -> None:
    additive = np.where(np.arange(12).reshape(3, 4) % 4 < 2, 0.0, np.finfo(np.float32).min).astype(np.float32)
    additive[0] = np.finfo(np.float32).min
    mask = profile_of([additive])
    assert mask.structure == "mask"
    assert mask.masked_value is not None
    assert mask.masked_value < -1e38
    assert np.isclose(mask.masked_rows, 1 / 3)
    assert profile_of([np.array([True, False])]).structure == "mask"
    assert profile_of([np.arange(30)]).structure == "index"
    assert profile_of([np.full((4, 4), 2.5, np.float32)]).structure == "constant"
    assert profile_of([np.zeros((0, 4), np.float32)]).structure == "empty"


def test_varying_last_axis_is_no_channel_axis() -> None:
    builder = ProfileBuilder()
    random = np.random.default_rng(0)
    builder.add(random.normal(size=(20, 16)).astype(np.float32))
    builder.add(random.normal(size=(20, 17)).astype(np.float32))
    profile = builder.finish()
    assert profile.channels == ()
    assert profile.sizes == ((20, 20), (16, 17))


def test_nonfinite_is_counted_and_kept_out_of_the_range() -> None:
    profile = profile_of([np.array([1.0, np.nan, np.inf, -np.inf, 2.0], np.float32)])
    assert (profile.low, profile.high) == (1.0, 2.0)
    assert (profile.nans, profile.positive_infinities, profile.negative_infinities) == (0.2, 0.2, 0.2)


def test_hidden_positions_are_counted_and_kept_out_of_the_quantiles() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    scores[:, 6:] = np.finfo(np.float32).min
    profile = profile_of([scores])
    assert profile.hidden == 0.25
    assert profile.low == float(f"{np.finfo(np.float32).min:.7g}") or profile.low < -3e38
    assert profile.quantiles[0] > -10
    assert profile.structure == "dense"
