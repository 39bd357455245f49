"""The error bounds of single steps: tight, safe where they must be, zero where nothing is rounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.dtypes import unit_roundoff
from tapml_fuzz.core.operator import DType
from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle import summation
from tapml_fuzz.oracle.powers import power
from tapml_fuzz.oracle.rules.reductions import amax
from tapml_fuzz.oracle.tracked import Tracked, arithmetic
from tests.oracle.support import truth_of

IEEE = arithmetic("float32", "ieee", False)
U = unit_roundoff("float32")


def tracked(values: list[float], errors: list[float] | None = None) -> Tracked:
    error = None if errors is None else torch.tensor(errors, dtype=torch.float64)
    return Tracked(torch.tensor(values, dtype=torch.float64), IEEE, error, storage_dtype=torch.float32)


@pytest.mark.parametrize(
    ("primitive", "function"),
    [
        (f.exp, math.exp),
        (f.tanh, math.tanh),
        (f.erf, math.erf),
        (f.sqrt, math.sqrt),
        (f.rsqrt, lambda x: 1 / math.sqrt(x)),
        (f.log, math.log),
        (e.reciprocal, lambda x: 1 / x),
        (f.sigmoid, lambda x: 1 / (1 + math.exp(-x))),
        (e.square, lambda x: x * x),
        (lambda x: power(x, 1.7), lambda x: x**1.7),
    ],
)
@pytest.mark.parametrize("slack", [1e-6, 1e-2, 0.4])
def test_an_inexact_operand_stays_inside(primitive: object, function: object, slack: float) -> None:
    """Over the whole interval, also where the slope changes within it; and not wastefully far outside."""
    points = [0.5, 1.0, 2.0, 5.0]
    result = primitive(tracked(points, [slack] * 4))  # type: ignore[operator]
    for i, x in enumerate(points):
        ends = [abs(function(x + d) - function(x)) for d in np.linspace(-slack, slack, 41)]  # type: ignore[operator]
        assert max(ends) <= result.error[i]
        assert result.error[i] <= 12 * max(ends) + 200 * U


def test_cancellation_is_seen() -> None:
    difference = e.sub(e.add(tracked([1.0]), 1e-8), 1.0)
    assert difference.error is not None
    assert float(difference.error) > float(difference.value)


def test_a_pole_within_reach_is_unjudged() -> None:
    assert torch.isinf(e.reciprocal(tracked([1e-3], [1e-2])).error).all()  # type: ignore[arg-type]
    assert torch.isinf(f.log(tracked([1e-3], [1e-2])).error).all()  # type: ignore[arg-type]
    assert torch.isinf(f.rsqrt(tracked([0.0], [1e-9])).error).all()  # type: ignore[arg-type]


def test_an_exact_infinity_is_exact() -> None:
    result = e.add(tracked([math.inf, 0.1]), 1.0)
    assert result.error is not None
    assert result.error[0] == 0
    assert 0 < result.error[1] < 1e-6


def test_operations_that_need_no_rounding_are_exact() -> None:
    halves, whole = tracked([0.5, -1.5]), tracked([3.0, 5.0])
    for result in (e.add(halves, whole), e.sub(halves, whole), e.mul(halves, whole), e.div(halves, 4.0)):
        assert result.error is None
    for result in (e.add(tracked([1.0]), 2.0**-30), e.div(whole, 3.0), e.add(f.exp(whole), whole)):
        assert result.error is not None
        assert bool((result.error > 0).all())


def test_a_conversion_of_an_exact_value_has_one_right_result() -> None:
    x = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 70000.0], np.float32)
    to_half = {"dtype": DType("float16")}
    found = truth_of("aten._to_copy.default", [x], to_half)
    assert found.bounds == (None,)
    assert found.values[0].tolist() == [1.0, 1 + 2.0**-9, math.inf]
    either = truth_of("aten._to_copy.default", [x], to_half, accuracy="wgsl").bounds[0]
    assert either is not None
    assert either[0] >= 2.0**-11


def test_an_overflowing_intermediate_is_unjudged_and_saturation_is_not() -> None:
    huge = e.square(tracked([1e30, 1.0]))
    back = f.sqrt(huge)
    assert back.error is not None
    assert torch.isinf(back.error).tolist() == [True, False]
    saturated = f.tanh(huge).error
    assert saturated is not None
    assert torch.isfinite(saturated).all()


def test_growth_is_capped_and_grows_with_repetition() -> None:
    assert summation.growth(1) == 0
    assert summation.growth(2) == 1
    assert summation.growth(10_000) < summation.growth(10_000, 4.0) < summation.growth(10_000, 10_000.0) == 5_000
    assert summation.growth(10_000, 10_000.0, 1.0) == 9_999


@pytest.mark.parametrize("times", [1, 2, 16, 171, 4096])
def test_how_often_terms_occur_is_read_off_the_data(times: int) -> None:
    random = np.random.default_rng(0)
    different = random.standard_normal((4, 65536 // times))
    terms = torch.from_numpy(random.permuted(np.repeat(different, times, axis=1), axis=1))
    found = summation.multiplicity(terms, -1, U)
    assert np.asarray(found) == pytest.approx(times, rel=0.4)


def test_terms_that_differ_by_less_than_a_rounding_are_the_same() -> None:
    generic = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 4096)))
    for repeated in (torch.full((4, 4096), 0.1), 1 + generic * 1e-9):
        assert np.asarray(summation.multiplicity(repeated.to(torch.float64), -1, U)).min() > 4000


def added_up(terms: np.ndarray[Any, Any]) -> float:
    """One after the other, in float32."""
    return float(np.add.accumulate(terms.astype(np.float32), dtype=np.float32)[-1])


@pytest.mark.parametrize("tiny", [3e-8, 8.5e-8, 1.0e-7])
def test_what_a_large_partial_sum_absorbs_is_within_the_bound(tiny: float) -> None:
    # Dropped (below 2^-24), rounded up to 2^-23, and dropped or not with the binade.
    terms = np.full(2000, tiny, np.float32) * np.random.default_rng(0).uniform(0.98, 1.02, 2000).astype(np.float32)
    terms[:2] = 1.0, 0.5
    found = truth_of("aten.sum.dim_IntList", [terms, [-1]])
    assert found.bounds[0] is not None
    error = abs(added_up(terms) - float(found.values[0]))
    assert error > 100 * 2.0**-24
    assert error < float(found.bounds[0])
    assert float(found.bounds[0]) < 5 * error


def test_rows_of_repeated_values_in_any_order_stay_within_the_bound() -> None:
    random, worst = np.random.default_rng(0), 0.0
    for _ in range(20):
        terms = random.permutation(np.tile(random.lognormal(0, 1, 384).astype(np.float32), 171))
        found = truth_of("aten.sum.dim_IntList", [terms, [-1]])
        assert found.bounds[0] is not None
        worst = max(worst, abs(added_up(terms) - float(found.values[0])) / float(found.bounds[0]))
    assert 0.1 < worst < 1


def test_attention_may_lose_what_it_hardly_looks_at() -> None:
    weights = np.full((1, 1024), 3e-8, np.float32)
    weights[0, 0] = 1.0
    values = np.random.default_rng(0).uniform(0.9, 1.1, (1024, 1)).astype(np.float32)
    found = truth_of("aten.mm.default", [weights, values])
    assert found.bounds[0] is not None
    error = abs(added_up((weights * values.T)[0]) - float(found.values[0].item()))
    assert 100 * 2.0**-24 < error < float(found.bounds[0].item()) < 5 * error


def test_flush_widens_only_what_may_be_subnormal() -> None:
    x = np.array([1.0, 1e-40, 0.0], np.float32)
    strict, flushed = truth_of("aten.mul.Scalar", [x, 0.3]), truth_of("aten.mul.Scalar", [x, 0.3], flush=True)
    assert strict.bounds[0][1] < 1e-44
    assert flushed.bounds[0][1] > 3e-41
    copied = truth_of("aten.clone.default", [x], flush=True).bounds[0]
    assert copied is not None
    assert copied[1] >= 1e-40


def test_a_flushed_number_times_infinity_is_not_judged() -> None:
    infinite, other = np.array([[-np.inf, 1.0]], np.float32), np.array([[4e-45], [2.0]], np.float32)
    for name, args in (
        ("aten.mul.Tensor", [other, infinite[:, :1]]),
        ("aten.mul.Tensor", [infinite[:, :1], other]),
        ("aten.mm.default", [infinite, other]),
        ("aten.mm.default", [other.T, infinite.T]),
    ):
        strict, flushed = truth_of(name, args), truth_of(name, args, flush=True)
        assert strict.values[0].ravel()[0] == -np.inf
        assert strict.unjudged == 0
        assert flushed.unjudged == 1
    apart = truth_of("aten.mm.default", [infinite, np.array([[3.0], [4e-45]], np.float32)], flush=True)
    assert apart.unjudged == 0
    certain = truth_of("aten.mm.default", [np.array([[-np.inf, np.nan]], np.float32), other], flush=True)
    assert certain.unjudged == 0


def test_a_kernel_may_leave_out_the_padding_that_a_nan_weight_meets() -> None:
    x, weight = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 1, 3, 3), np.float32)
    weight[1, 0, 0, 0] = np.nan

    def unjudged(padding: int, transposed: bool = False) -> list[list[bool]]:
        args = [x, weight, None, [1, 1], [padding, padding], [1, 1], transposed, [0, 0], 2]
        bound = truth_of("aten.convolution.default", args).bounds[0]
        assert bound is not None
        assert not np.isinf(bound[0, 0]).any()
        return np.isinf(bound[0, 1]).tolist()  # type: ignore[no-any-return]

    assert unjudged(0) == [[False] * 2] * 2
    assert unjudged(1) == [[True] * 4] + [[True, False, False, False]] * 3
    assert unjudged(0, transposed=True) == [[False] * 6] * 6
    weight[1, 0, 2, 2] = np.nan  # one of the two meets the input nearly everywhere, and then there is no doubt
    assert unjudged(1) == [[False, False, False, True], [False] * 4, [False] * 4, [True, False, False, False]]


def test_accuracy_tables_widen_what_they_name() -> None:
    x = np.linspace(0.13, 5, 50, dtype=np.float32)
    for name in ("aten.tanh.default", "aten.log.default", "aten.div.Tensor"):
        args = [x, x + 1] if "div" in name else [x]
        ieee, wgsl = truth_of(name, args).bounds[0], truth_of(name, args, accuracy="wgsl").bounds[0]
        opencl = truth_of(name, args, accuracy="opencl").bounds[0]
        assert (wgsl > ieee).all()
        assert (opencl > ieee).all()
    copied = truth_of("aten.clone.default", [x], accuracy="wgsl")
    assert copied.bounds == (None,)


def test_a_mask_absorbs_a_score_and_its_error() -> None:
    lowest = -3.4028234663852886e38
    scores, mask = tracked([2.0, 2.0], [1e-6, math.inf]), tracked([lowest, -math.inf])
    error = e.add(scores, mask).error
    assert error is not None
    assert error.tolist() == [0.0, math.inf]


def test_the_largest_is_as_certain_as_what_may_be_largest() -> None:
    row = tracked([1.0, -1e30], [1e-6, 1e20])
    found = amax(row, [0]).error
    assert found is not None
    assert float(found) == pytest.approx(1e-6)


@pytest.mark.parametrize("n", [9, 32, 1000])
def test_only_a_sum_that_one_term_dominates_gets_the_wider_bound(n: int) -> None:
    even, dominated = summation.growth(n), summation.growth(n, 0.0, 1.0)
    assert even == pytest.approx(max(1.5 * math.sqrt(n), n / 2 if n <= 16 else 0), rel=1e-15)
    assert even < dominated <= 2.9 * math.sqrt(n)
