"""Right ways to compute the same thing, in float32 numpy: orders of summation, softmax in one pass, moments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapml_fuzz.core.dtypes import Array

LOG2_E = np.float32(1.4426950408889634)


def sequential(x: Array) -> Array:
    """The sum over the last axis, first term to last."""
    total = np.zeros(x.shape[:-1], x.dtype)
    for i in range(x.shape[-1]):
        total = total + x[..., i]
    return total


def backwards(x: Array) -> Array:
    return sequential(x[..., ::-1])


def pairwise(x: Array) -> Array:
    while x.shape[-1] > 1:
        even = x.shape[-1] // 2 * 2
        x = np.concatenate([x[..., 0:even:2] + x[..., 1:even:2], x[..., even:]], -1)
    return x[..., 0]


def blocked(x: Array) -> Array:
    """Eight lanes, each sequential, as a vector unit or a warp does."""
    return sequential(np.stack([sequential(x[..., i::8]) for i in range(min(8, x.shape[-1]))], -1))


SUMS: tuple[Callable[[Array], Array], ...] = (sequential, backwards, pairwise, blocked)


def online_softmax(x: Array) -> Array:
    """One pass that rescales as the maximum grows (Milakov and Gimelshein 2018)."""
    peak = np.full(x.shape[0], -np.inf, np.float32)
    total = np.zeros(x.shape[0], np.float32)
    for column in x.T:
        higher = np.maximum(peak, column)
        total = total * np.exp(peak - higher) + np.exp(column - higher)
        peak = higher
    result: Array = np.exp(x - peak[:, None]) / total[:, None]
    return result


def softmax_by_exp2(x: Array) -> Array:
    with np.errstate(over="ignore"):
        powers = np.exp2((x - x.max(-1, keepdims=True)) * LOG2_E)
    result: Array = powers * (np.float32(1) / powers.sum(-1, keepdims=True))
    return result


def two_pass(x: Array) -> tuple[Array, Array]:
    """Mean and variance over the last axis, which is kept."""
    mean = x.mean(-1, dtype=np.float32, keepdims=True)
    return mean, np.square(x - mean).mean(-1, dtype=np.float32, keepdims=True)


def welford(x: Array) -> tuple[Array, Array]:
    """The same, updated term by term (Welford 1962)."""
    mean: Array = np.zeros((x.shape[0], 1), np.float32)
    squares: Array = np.zeros((x.shape[0], 1), np.float32)
    for i in range(x.shape[1]):
        column = x[:, i : i + 1]
        delta = column - mean
        mean = mean + delta / np.float32(i + 1)
        squares = squares + delta * (column - mean)
    return mean, squares / np.float32(x.shape[1])


MOMENTS: tuple[Callable[[Array], tuple[Array, Array]], ...] = (two_pass, welford)


def one_newton_step(x: Array) -> Array:
    """1/sqrt(x) from a 12-bit estimate and one Newton step, as vector units offer it."""
    estimate = (1 / np.sqrt(x.astype(np.float64)) * (1 + 2.0**-13)).astype(np.float32)
    result: Array = estimate * (np.float32(1.5) - np.float32(0.5) * x * estimate * estimate)
    return result


def layer_norm(x: Array, moments: Callable[[Array], tuple[Array, Array]], *, folded: bool, eps: float) -> Array:
    mean, variance = moments(x)
    scale = one_newton_step(variance + np.float32(eps))
    return x * scale + (-mean * scale) if folded else (x - mean) * scale
