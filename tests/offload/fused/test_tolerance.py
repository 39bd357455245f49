"""The tolerance that is measured from outside: what another correct function does is inside, a fault is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.special import erf, erfc

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.offload.fused.tolerance import reduction, slack, tolerance

_TERMS = 512


def one_by_one(inputs: Sequence[Array]) -> list[Array]:
    """x @ w, each product added to the sum before it."""
    x, w = inputs
    total = np.zeros((x.shape[0], w.shape[1]), x.dtype)
    for k in range(x.shape[1]):
        total = total + x[:, k : k + 1] * w[k]
    return [total]


def in_a_tree(inputs: Sequence[Array]) -> list[Array]:
    x, w = inputs
    parts = x[:, :, None] * w[None]
    while parts.shape[1] > 1:
        parts = parts[:, ::2] + parts[:, 1::2]
    return [parts[:, 0]]


def product(dtype: str, shift: float = 0.0, terms: int = _TERMS) -> list[Array]:
    random = np.random.default_rng(1)
    x, w = random.standard_normal((4, terms)) + shift, random.standard_normal((terms, 8)) + shift
    return [x.astype(dtype), w.astype(dtype)]


def worst(
    one: Callable[[Sequence[Array]], list[Array]], other: Callable[[Sequence[Array]], list[Array]], inputs: list[Array]
) -> float:
    """How far `other` is from `one`, over what is allowed from looking at `one`."""
    outputs = one(inputs)
    (allowed,) = tolerance(one, inputs, outputs, reduction(one, inputs, outputs))
    assert allowed is not None
    apart = np.abs(other(inputs)[0].astype(np.float64) - outputs[0].astype(np.float64))
    return float((apart[apart > 0] / allowed[apart > 0]).max(initial=0.0))


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_another_order_of_sums_is_allowed_both_ways(dtype: str, shift: float) -> None:
    inputs = product(dtype, shift)
    assert 0 < worst(one_by_one, in_a_tree, inputs) < 0.5
    assert 0 < worst(in_a_tree, one_by_one, inputs) < 0.5


def test_a_term_left_out_is_not_allowed() -> None:
    def without_last(inputs: Sequence[Array]) -> list[Array]:
        return one_by_one([inputs[0][:, :-1], inputs[1][:-1]])

    assert worst(one_by_one, without_last, product("float32")) > 100


def test_sums_in_half_precision_are_not_allowed_beside_wider_ones() -> None:
    def wide(inputs: Sequence[Array]) -> list[Array]:
        return [(inputs[0].astype(np.float32) @ inputs[1].astype(np.float32)).astype(np.float16)]

    def wide_backwards(inputs: Sequence[Array]) -> list[Array]:
        return wide([inputs[0][:, ::-1], inputs[1][::-1]])

    inputs = product("float16", shift=0.5, terms=8 * _TERMS)
    assert worst(wide, wide_backwards, inputs) < 0.5
    assert worst(wide, one_by_one, inputs) > 1


def test_cancellation_inside_is_seen() -> None:
    """1 + erf(x / sqrt 2) loses all digits where x is far below zero, which no perturbation of x alone shows."""

    root = np.float32(np.sqrt(0.5))

    def gelu(inputs: Sequence[Array]) -> list[Array]:
        x = inputs[0]
        return [x * np.float32(0.5) * (np.float32(1) + erf(x * root))]

    def without_cancellation(inputs: Sequence[Array]) -> list[Array]:
        x = inputs[0].astype(np.float64)
        return [(x * 0.5 * erfc(-x * np.sqrt(0.5))).astype(np.float32)]

    x = np.linspace(-4.8, 4.8, 4001, dtype=np.float32)
    relative = np.abs(gelu([x])[0][x < -4] / without_cancellation([x])[0][x < -4] - 1)
    assert relative.max() > 1000 * np.finfo(np.float32).eps
    assert 0 < worst(gelu, without_cancellation, [x]) < 1


def test_noise_from_inside_is_measured() -> None:
    def noisy(inputs: Sequence[Array]) -> list[Array]:
        return [(inputs[0] + np.float32(100)) - np.float32(100)]

    def quiet(inputs: Sequence[Array]) -> list[Array]:
        return [inputs[0].copy()]

    x = np.linspace(1, 2, 1001, dtype=np.float32)
    assert 0 < worst(noisy, quiet, [x]) < 1
    assert worst(quiet, noisy, [x]) > 1


def test_sums_that_cancel_are_allowed_what_their_terms_are() -> None:
    def exact(inputs: Sequence[Array]) -> list[Array]:
        return [(inputs[0].astype(np.float64) @ inputs[1].astype(np.float64)).astype(np.float32)]

    random = np.random.default_rng(2)
    half = random.standard_normal((4, 8 * _TERMS))
    x = np.concatenate([half, half + 1e-5 * random.standard_normal(half.shape)], axis=1).astype(np.float32)
    w = np.repeat([1.0, -1.0], 8 * _TERMS)[:, None].astype(np.float32)
    assert 0 < worst(exact, one_by_one, [x, w]) < 1


@pytest.mark.parametrize("masked_by", [np.finfo(np.float32).min, -1e4])
def test_a_masked_score_lends_its_neighbours_nothing(masked_by: float) -> None:
    def masked(inputs: Sequence[Array]) -> list[Array]:
        return [inputs[0] + inputs[1]]

    scores = np.ones((4, 8), np.float32)
    mask = np.where(np.arange(8) < 6, 0.0, masked_by).astype(np.float32)
    (allowed,) = tolerance(masked, [scores, mask], masked([scores, mask]), 2.0)
    assert allowed is not None
    assert allowed[:, :6].max() < 1e-5
    assert (allowed[:, 6:] > 1e-8 * abs(masked_by)).all()


def test_a_mask_alone_is_exact_where_it_is_zero() -> None:
    def chosen(inputs: Sequence[Array]) -> list[Array]:
        return [np.where(inputs[0], np.float32(0), inputs[1])]

    inputs = [np.arange(8) < 6, np.asarray(-1e9, np.float32)]
    (allowed,) = tolerance(chosen, inputs, chosen(inputs), 1.0)
    assert allowed is not None
    assert (allowed[:6] == 0).all()
    assert (allowed[6:] > 0).all()


def test_a_mask_inside_a_product_lends_nothing_either() -> None:
    mask = np.where(np.arange(8) < 6, 0.0, np.finfo(np.float32).min).astype(np.float32)

    def scores(inputs: Sequence[Array]) -> list[Array]:
        return [one_by_one(inputs[:2])[0] + inputs[2]]

    inputs = [*product("float32"), mask]
    outputs = scores(inputs)
    (allowed,) = tolerance(scores, inputs, outputs, reduction(scores, inputs, outputs))
    assert allowed is not None
    assert allowed[:, :6].max() < 1e-2
    assert (allowed[:, 6:] > 1e25).all()


def test_a_function_of_integers_alone_rounds_its_result() -> None:
    def waves(inputs: Sequence[Array]) -> list[Array]:
        return [np.cos(inputs[0]).astype(np.float32)]

    positions = np.arange(16)
    outputs = waves([positions])
    (allowed,) = tolerance(waves, [positions], outputs, 1.0)
    assert allowed is not None
    assert (np.abs(np.spacing(outputs[0])) <= allowed).all()
    assert allowed.max() < 1e-5


def test_integers_are_equal_or_hang_on_a_rounding() -> None:
    def rounded(inputs: Sequence[Array]) -> list[Array]:
        return [np.floor(inputs[0]).astype(np.int32)]

    x = np.asarray([0.5, 1.0, 2.5], np.float32)
    (allowed,) = tolerance(rounded, [x], rounded([x]), 1.0)
    assert allowed is not None
    assert allowed.tolist() == [0.0, np.inf, 0.0]

    def picked(inputs: Sequence[Array]) -> list[Array]:
        return [inputs[0][::-1]]

    numbers = np.arange(3)
    assert tolerance(picked, [numbers], picked([numbers]), 1.0) == [None]


def test_how_many_terms_are_added_is_measured() -> None:
    inputs = product("float32")
    assert reduction(one_by_one, inputs, one_by_one(inputs)) == pytest.approx(2 * _TERMS)

    def negated(given: Sequence[Array]) -> list[Array]:
        return [-given[0]]

    assert reduction(negated, inputs[:1], negated(inputs)) == 1.0


def test_slack_is_relative_to_the_output() -> None:
    assert slack(np.full(3, 0.5), np.full(3, 50.0, np.float32)) == pytest.approx(0.01)
    assert slack(None, np.ones(3)) == 0.0
