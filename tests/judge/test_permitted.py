"""What a platform's specification permits: accuracy tables, flushing, finite numbers only."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tests.judge.cases import on

WGSL = Policy(flushes_subnormals=True, assumes_finite=True, accuracy="wgsl", source="WGSL 15.7")


def test_permitted_by_accuracy() -> None:
    """tanh by its definition through exponentials has an absolute error near zero; WGSL lets it."""
    x = np.array([1e-4, 0.01, 0.5, 3], np.float32)
    defined = (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))
    assert on(Ok((defined,)), "aten.tanh.default", [x]).kind == "wrong"
    verdict = on(Ok((defined,)), "aten.tanh.default", [x], policy=WGSL)
    assert verdict.kind == "permitted"
    assert not verdict.failed
    assert "WGSL 15.7" in verdict.message
    assert on(Ok((defined + np.float32(0.01),)), "aten.tanh.default", [x], policy=WGSL).kind == "wrong"


def test_permitted_by_flushing() -> None:
    x = np.array([1e-40, 1.0, 2.0], np.float32)
    flushed = np.array([0.0, 1.0, 2.0], np.float32)
    assert on(Ok((flushed,)), "aten.clone.default", [x]).kind == "wrong"
    assert on(Ok((flushed,)), "aten.clone.default", [x], policy=Policy(flushes_subnormals=True)).kind == "permitted"
    zeroed = np.array([0.0, 0.0, 2.0], np.float32)
    assert on(Ok((zeroed,)), "aten.clone.default", [x], policy=Policy(flushes_subnormals=True)).kind == "wrong"


def test_flushing_is_magnified_as_the_operator_does() -> None:
    """A subnormal times 1e38: zero is permitted, anything else is not."""
    x, y = np.array([1e-39], np.float32), np.array([1e38], np.float32)
    policy = Policy(flushes_subnormals=True, source="it says so")
    assert on(Ok((np.zeros(1, np.float32),)), "aten.mul.Tensor", [x, y], policy=policy).kind == "permitted"
    assert on(Ok((np.full(1, 0.5, np.float32),)), "aten.mul.Tensor", [x, y], policy=policy).kind == "wrong"


def test_permitted_by_assuming_finite_numbers() -> None:
    x = np.array([np.nan, 1.0], np.float32)
    dropped = np.array([0.0, 1.0], np.float32)
    policy = Policy(assumes_finite=True, source="WGSL 15.7.2")
    assert on(Ok((dropped,)), "aten.relu.default", [x]).kind == "nonfinite"
    assert on(Ok((dropped,)), "aten.relu.default", [x], policy=policy).kind == "permitted"
    finite = np.array([1.0, 2.0], np.float32)
    made = np.array([np.nan, 2.0], np.float32)
    assert on(Ok((made,)), "aten.relu.default", [finite], policy=policy).kind == "nonfinite"


def test_flushing_widens_the_bound_only_near_zero() -> None:
    """The smallest normal float16 is 6.1e-5: no excuse for an error of that size in a result of 0.001."""
    x = np.array([0.002, 1e-4], np.float16)
    half = (x * np.float16(0.5)).astype(np.float16)
    near_zero, far = half.copy(), half.copy()
    near_zero[1], far[0] = 0.0, half[0] * np.float16(1.03)
    assert on(Ok((near_zero,)), "aten.mul.Tensor", [x, 0.5], policy=WGSL).kind == "permitted"
    assert on(Ok((far,)), "aten.mul.Tensor", [x, 0.5], policy=WGSL).kind == "wrong"


def test_a_half_precision_builtin_is_allowed_its_own_units() -> None:
    x = np.array([6.5], np.float16)
    off_by_two = np.exp(x.astype(np.float64)).astype(np.float16) * np.float16(1.002)
    assert on(Ok((off_by_two,)), "aten.exp.default", [x]).kind == "wrong"
    assert on(Ok((off_by_two,)), "aten.exp.default", [x], policy=WGSL).kind == "permitted"


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.5, 2, 3])
@pytest.mark.parametrize(
    ("accuracy", "ulp", "kind"),
    [("ieee", 5, "wrong"), ("triton", 5, "wrong"), ("opencl", 15, "permitted"), ("opencl", 40, "wrong"),
     ("wgsl", 6, "permitted"), ("cuda-fast", 7, "permitted"), ("cuda-fast", 40, "wrong")],
)  # fmt: skip
def test_a_power_may_be_pow_where_a_specification_says_how_accurate_that_is(
    accuracy: str, ulp: int, kind: str, exponent: float
) -> None:
    x = np.full(1, 3.7, np.float32)
    right = (x.astype(np.float64) ** exponent).astype(np.float32)
    off = right + ulp * np.spacing(right)
    verdict = on(Ok((off,)), "aten.pow.Tensor_Scalar", [x, exponent], policy=Policy(accuracy=accuracy))
    assert verdict.kind == kind


@pytest.mark.parametrize(("accuracy", "kind"), [("opencl", "permitted"), ("wgsl", "wrong"), ("cuda-fast", "wrong")])
def test_a_pow_that_needs_a_logarithm_says_nothing_of_negative_numbers(accuracy: str, kind: str) -> None:
    x = np.full(1, -3.7, np.float32)
    off = x * x * np.float32(1 + 5e-7)
    assert on(Ok((off,)), "aten.pow.Tensor_Scalar", [x, 2], policy=Policy(accuracy=accuracy)).kind == kind


@pytest.mark.parametrize("accuracy", ["opencl", "wgsl", "cuda-fast"])
def test_a_power_of_nothing_or_infinity_is_what_it_is(accuracy: str) -> None:
    x = np.array([0.0, np.inf, -np.inf, np.nan], np.float32)
    policy = Policy(accuracy=accuracy)
    assert on(Ok((x * x,)), "aten.pow.Tensor_Scalar", [x, 2], policy=policy).kind is None
    for wrong in [1.0, np.inf, np.inf, np.nan], [0.0, 3.4e38, np.inf, np.nan], [0.0, np.inf, np.inf, 1.0]:
        given = Ok((np.array(wrong, np.float32),))
        assert on(given, "aten.pow.Tensor_Scalar", [x, 2], policy=policy).kind in ("wrong", "nonfinite")


@pytest.mark.parametrize(
    ("accuracy", "operator", "x", "units", "permitted"),
    [
        ("wgsl", "tanh", 0.002, 300.0, True),  # 1 ULP of exp(0) is 512 units here
        ("wgsl", "tanh", 0.002, 2000.0, False),
        ("wgsl", "exp", 0.01, 1.0, True),  # 1 + 2|x| ULP, and a rounding
        ("wgsl", "exp", 0.01, 4.0, False),  # what float32 has, 3 + 2|x|, is not for float16
        ("wgsl", "log", 1.01, 400.0, True),  # 2^-7 absolute
        ("opencl", "tanh", 0.5, 2.0, True),
        ("opencl", "tanh", 0.5, 5.0, False),  # float32's
        ("opencl", "exp", 6.5, 2.0, True),
        ("opencl", "exp", 6.5, 5.0, False),
    ],
)
def test_half_precision_has_columns_of_its_own(
    accuracy: str, operator: str, x: float, units: float, permitted: bool
) -> None:
    value = np.array([x], np.float16)
    exact = {"tanh": np.tanh, "exp": np.exp, "log": np.log}[operator](value.astype(np.float64))
    off = (exact + units * np.spacing(exact.astype(np.float16)).astype(np.float64)).astype(np.float16)
    verdict = on(Ok((off,)), f"aten.{operator}.default", [value], policy=Policy(accuracy=accuracy))
    assert verdict.kind == ("permitted" if permitted else "wrong")


def test_fast_math_is_permitted_as_far_as_its_table_goes() -> None:
    """tvm-cuda on an H100, where TVM compiles with --use_fast_math: three of its results."""
    fast = Policy(flushes_subnormals=True, accuracy="cuda-fast", source="CUDA")
    x = np.array([0.02], np.float32)
    seen, wrong = np.array([0.0199975017], np.float32), np.array([0.0200175], np.float32)
    assert on(Ok((seen,)), "aten.tanh.default", [x]).kind == "wrong"
    assert on(Ok((seen,)), "aten.tanh.default", [x], policy=fast).kind == "permitted"
    assert on(Ok((wrong,)), "aten.tanh.default", [x], policy=fast).kind == "wrong"
    scores = np.array([[0.0, -90.5]], np.float32)
    flushed, other = np.array([[1.0, 0.0]], np.float32), np.array([[1.0, 1e-37]], np.float32)
    assert on(Ok((flushed,)), "aten._softmax.default", [scores, -1, False], policy=fast).kind == "permitted"
    assert on(Ok((other,)), "aten._softmax.default", [scores, -1, False], policy=fast).kind == "wrong"


@pytest.mark.parametrize(
    ("x", "off", "permitted"),
    [
        (55.0, -5.67e-6, True),  # tvm-cuda's on an H100
        (97.4549179, 1e-5, True),  # the largest up to 100 there
        (55.0, 2e-5, False),
        (1.0, 3e-7, True),
        (1.0, 1e-6, False),
        (3.0, 1e-6, False),
        (1e9, 1.0, True),
        (1e9, 2.5, False),
    ],
)
def test_sines_of_more_than_half_a_turn_may_lose_what_reducing_the_argument_does(
    x: float, off: float, permitted: bool
) -> None:
    """CUDA's and WGSL's bounds are for [-pi, pi]."""
    fast = Policy(flushes_subnormals=True, accuracy="cuda-fast", source="CUDA")
    value = np.array([x], np.float32)
    given = (np.cos(value.astype(np.float64)) + off).astype(np.float32)
    assert on(Ok((given,)), "aten.cos.default", [value]).kind == "wrong"
    verdict = on(Ok((given,)), "aten.cos.default", [value], policy=fast)
    assert verdict.kind == ("permitted" if permitted else "wrong")


def test_tritons_division_is_permitted_two_units() -> None:
    """torch-inductor on an H100: one unit more than IEEE division has, on a recorded input."""
    x, y = np.array([1.0], np.float32), np.array([3.0], np.float32)
    third = np.float32(1) / np.float32(3)
    off = np.array([third + 2 * np.spacing(third)], np.float32)
    far = np.array([third + 4 * np.spacing(third)], np.float32)
    triton = Policy(accuracy="triton", source="PTX ISA")
    assert on(Ok((off,)), "aten.div.Tensor", [x, y]).kind == "wrong"
    assert on(Ok((off,)), "aten.div.Tensor", [x, y], policy=triton).kind == "permitted"
    assert on(Ok((far,)), "aten.div.Tensor", [x, y], policy=triton).kind == "wrong"


def test_an_infinity_frees_only_what_depends_on_it() -> None:
    x = np.array([1.0, np.inf, 2.0], np.float32)
    right, elsewhere = np.exp(x), np.exp(x)
    right[1], elsewhere[0] = 0.0, 5.0
    assert on(Ok((right,)), args=[x], policy=WGSL).kind == "permitted"
    assert on(Ok((elsewhere,)), args=[x], policy=WGSL).kind == "wrong"
