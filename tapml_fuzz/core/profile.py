"""Activation profiles: what the values of one argument looked like while a real model ran."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

import msgspec
import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array

# An additive mask adds a number below any logit: -10000 in the first of them (google-research/bert, modeling.py), the
# lowest of the dtype in newer models (float16: -65504).
MASKED_BELOW = -1e4

# Probabilities at which quantiles are kept: dense in the tails, where the values that break kernels live. Of
# 65,536 sampled values 65 are below the one at 0.001.
PROBABILITIES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_ROW_PROBABILITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_SAMPLE = 1 << 16
# Chosen so that a profile stays a few kilobytes of JSON that people can read.
_MAX_DISTINCT = 8
_MAX_CHANNELS = 64

Structure = Literal["dense", "mask", "index", "constant", "empty"]


class Profile(msgspec.Struct, frozen=True):
    """Distribution of one tensor argument over all calls of an operator.

    Attributes:
        dtype: dtype observed; count: elements seen.
        low, high: finite range; quantiles: at `PROBABILITIES`, of finite values that no mask hides.
        zeros, nans, positive_infinities, negative_infinities: fractions of all elements.
        values: the distinct values when there are at most eight, else empty.
        hidden: fraction of floating values at the dtype's lowest end (below half of it): positions a mask hides.
        structure: `mask` (few values, boolean or with one below -1e4), `index` (integers), `constant`, `dense`.
        masked_rows: fraction of fully masked rows of a mask.
        channels: (mean, standard deviation) of up to 64 channels of the last axis, outlier channels included;
            empty when the last axis was no fixed channel axis.
        outlier_channels: fraction of channels whose standard deviation exceeds six times the median.
        row_norms: Euclidean norms of rows relative to their median, at 0, 25, 50, 75 and 100 percent.
        sizes: smallest and largest extent seen per axis.
    """

    dtype: str
    count: int = 0
    low: float = 0.0
    high: float = 0.0
    quantiles: tuple[float, ...] = ()
    zeros: float = 0.0
    nans: float = 0.0
    positive_infinities: float = 0.0
    negative_infinities: float = 0.0
    values: tuple[float, ...] = ()
    hidden: float = 0.0
    structure: Structure = "dense"
    masked_rows: float = 0.0
    channels: tuple[tuple[float, float], ...] = ()
    outlier_channels: float = 0.0
    row_norms: tuple[float, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def masked_value(self) -> float | None:
        """The value that hides a position: the lowest of a mask; None where the argument is no mask."""
        return min(self.values) if self.structure == "mask" and self.values else None


class ProfileBuilder:
    """Collects calls into a `Profile` in bounded memory: exact counts and range, sampled quantiles."""

    def __init__(self) -> None:
        self._dtype = ""
        self._count = 0
        self._tally: Counter[str] = Counter()
        self._low, self._high = math.inf, -math.inf
        self._samples: list[Array] = []
        self._sampled = 0
        self._distinct: set[float] | None = set()
        self._width: int | None = None
        self._channel_sum = self._channel_squares = np.zeros(0)
        self._channel_rows = 0
        self._row_norms: list[Array] = []
        self._rows = self._masked_rows = 0
        self._sizes: list[tuple[int, int]] = []

    def add(self, array: Array) -> None:
        """Take in one call's tensor, of any shape and dtype."""
        self._dtype = dtypes.name_of(array)
        shape = array.shape
        self._sizes = (
            [(min(lo, n), max(hi, n)) for (lo, hi), n in zip(self._sizes, shape, strict=True)]
            if len(self._sizes) == len(shape)
            else [(n, n) for n in shape]
        )
        if array.size == 0:
            return
        values = array.astype(np.float64)
        finite_mask = np.isfinite(values)
        finite = values[finite_mask]
        if dtypes.is_float(self._dtype) and finite.size:
            hidden = values <= -dtypes.largest(self._dtype) / 2
            self._tally["hidden"] += int((hidden & finite_mask).sum())
            finite_mask &= ~hidden  # quantiles, channels and norms are about what the mask lets through
        self._count += values.size
        self._tally["zeros"] += int((values == 0).sum())
        self._tally["nans"] += int(np.isnan(values).sum())
        self._tally["+inf"] += int(np.isposinf(values).sum())
        self._tally["-inf"] += int(np.isneginf(values).sum())
        if finite.size:
            self._low, self._high = min(self._low, float(finite.min())), max(self._high, float(finite.max()))
            visible = values[finite_mask]
            step = max(1, visible.size // 4096)
            if self._sampled < 16 * _SAMPLE and visible.size:
                sample = visible[::step].copy()  # a view would keep the whole tensor alive
                self._samples.append(sample)
                self._sampled += sample.size
        if self._distinct is not None:
            self._distinct.update(np.unique(values[~np.isnan(values)])[: _MAX_DISTINCT + 1].tolist())
            if len(self._distinct) > _MAX_DISTINCT:
                self._distinct = None
        if values.ndim and np.issubdtype(array.dtype, np.floating) | (self._dtype == "bfloat16"):
            self._rows += values.size // shape[-1]
            self._masked_rows += int((values <= MASKED_BELOW).all(axis=-1).sum())
            self._add_rows(np.where(finite_mask, values, 0.0).reshape(-1, shape[-1]))

    def _add_rows(self, rows: Array) -> None:
        if self._width is None:
            self._width = rows.shape[1]
            self._channel_sum = np.zeros(rows.shape[1])
            self._channel_squares = np.zeros(rows.shape[1])
        if self._width == rows.shape[1]:
            self._channel_sum = self._channel_sum + rows.sum(axis=0)
            self._channel_squares = self._channel_squares + (rows * rows).sum(axis=0)
            self._channel_rows += rows.shape[0]
        else:  # the last axis varies, so it is no channel axis
            self._width = -1
        if len(self._row_norms) < 256:
            step = max(1, rows.shape[0] // 256)
            self._row_norms.append(np.linalg.norm(rows[::step], axis=1))

    def finish(self) -> Profile:
        """The profile of everything added so far."""
        if not self._count:
            return Profile(dtype=self._dtype or "float32", structure="empty", sizes=tuple(self._sizes))
        sample = np.concatenate(self._samples) if self._samples else np.zeros(1)
        if sample.size > 4 * _SAMPLE:
            sample = sample[:: sample.size // (4 * _SAMPLE)]
        quantiles = np.quantile(sample, PROBABILITIES)
        finite_range = self._low <= self._high
        if finite_range and not self._tally["hidden"]:
            quantiles[0], quantiles[-1] = self._low, self._high
        values = tuple(sorted(self._distinct)) if self._distinct is not None else ()
        channels, outliers = self._channels()
        return Profile(
            dtype=self._dtype,
            count=self._count,
            low=self._low if finite_range else 0.0,
            high=self._high if finite_range else 0.0,
            quantiles=tuple(_short(q) for q in quantiles),
            zeros=_short(self._tally["zeros"] / self._count),
            nans=_short(self._tally["nans"] / self._count),
            positive_infinities=_short(self._tally["+inf"] / self._count),
            negative_infinities=_short(self._tally["-inf"] / self._count),
            values=tuple(v for v in values if math.isfinite(v)),
            hidden=_short(self._tally["hidden"] / self._count),
            structure=self._structure(values),
            masked_rows=_short(self._masked_rows / self._rows) if self._rows else 0.0,
            channels=channels,
            outlier_channels=outliers,
            row_norms=self._relative_row_norms(),
            sizes=tuple(self._sizes),
        )

    def _structure(self, values: tuple[float, ...]) -> Structure:
        if self._dtype == "bool" or (len(values) >= 2 and values[0] <= MASKED_BELOW):
            return "mask"
        if len(values) == 1:
            return "constant"
        return "dense" if dtypes.is_float(self._dtype) else "index"

    def _channels(self) -> tuple[tuple[tuple[float, float], ...], float]:
        if not self._width or self._width < 8 or self._channel_rows < 8:
            return (), 0.0
        mean = self._channel_sum / self._channel_rows
        deviation = np.sqrt(np.maximum(self._channel_squares / self._channel_rows - mean * mean, 0.0))
        order = np.argsort(deviation)
        kept = order[np.unique(np.linspace(0, len(order) - 1, _MAX_CHANNELS).astype(int))]
        outliers = float((deviation > 6 * np.median(deviation)).mean())
        return tuple((_short(mean[c]), _short(deviation[c])) for c in kept), _short(outliers)

    def _relative_row_norms(self) -> tuple[float, ...]:
        norms = np.concatenate(self._row_norms) if self._row_norms else np.zeros(0)
        median = float(np.median(norms)) if norms.size else 0.0
        if median == 0.0:
            return ()
        return tuple(_short(q) for q in np.quantile(norms / median, _ROW_PROBABILITIES))


def profile_of(arrays: list[Array]) -> Profile:
    """The profile of a few tensors of one argument."""
    builder = ProfileBuilder()
    for array in arrays:
        builder.add(array)
    return builder.finish()


def _short(value: float) -> float:
    """Seven significant digits: what a float32 holds, so that files stay small."""
    return float(f"{float(value):.7g}")
