"""Verdicts: every outcome, form, classes of numbers, permission, selections, and who is to blame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import BuildError, Crash, Ok, RunError, RunOutcome, Timeout, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge, judge_differing, judge_not_repeated, judge_pair, judge_reference, judge_repeated
from tapml_fuzz.oracle import Truth, truth
from tests.oracle.catalogue import operator_of

X = np.linspace(-3, 3, 60, dtype=np.float32).reshape(4, 15)
EXP = np.exp(X)


def _case(name: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> tuple[Case, Truth]:
    operator, tensors = operator_of(name, args, kwargs or {})
    return Case(operator, {}, tensors), truth(operator, tensors, {})


def _on(outcome: RunOutcome, name: str = "aten.exp.default", args: list[Any] | None = None, **options: Any) -> Verdict:
    case, found = _case(name, [X] if args is None else args)
    return judge(case, outcome, found, **options)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Unsupported("no such dtype"), None),
        (BuildError("trace\nerror: bad type"), "build-error"),
        (RunError("ValueError: no"), "run-error"),
        (Crash(-11), "crash"),
        (Timeout(5.0), "timeout"),
        (Ok((EXP,)), None),
        (Ok((EXP, EXP)), "shape"),
        (Ok((EXP.T.copy(),)), "shape"),
        (Ok((EXP.astype(np.float64),)), "dtype"),
        (Ok((EXP,), mutated=(0,)), "run-error"),
        (Ok((EXP,), aliased=(0,)), "run-error"),
        (Ok((EXP,), unwritten=(2,)), "unwritten"),
        (Ok((EXP * np.float32(1.001),)), "wrong"),
        (Ok((np.full_like(EXP, np.nan),)), "nonfinite"),
    ],
)
def test_every_outcome_has_its_kind(outcome: RunOutcome, kind: str | None) -> None:
    verdict = _on(outcome)
    assert verdict.kind == kind
    assert "\n" not in verdict.message


def test_a_view_may_share_memory() -> None:
    assert _on(Ok((X.T,), aliased=(0,)), "aten.permute.default", [X, [1, 0]]).kind is None


def test_the_worst_element_is_named() -> None:
    wrong = EXP.copy()
    wrong[1, 2] *= 1.01
    wrong[3, 3] *= 1.0001
    verdict = _on(Ok((wrong,)))
    assert verdict.index == 17
    assert verdict.actual == wrong[1, 2]
    assert verdict.metrics.ratio > 1000
    assert verdict.metrics.max_ulp > 1000
    assert verdict.metrics.max_rel == pytest.approx(0.01, rel=1e-3)
    assert sum(verdict.metrics.histogram) == X.size
    assert 0.99 < verdict.metrics.cosine <= 1.0


def test_an_integer_poison_that_is_an_answer_is_no_fault() -> None:
    x = np.arange(4, dtype=np.int32)
    assert _on(Ok((x.copy(),), unwritten=(1,)), "aten.clone.default", [x]).kind is None
    assert _on(Ok((x + 1,), unwritten=(1,)), "aten.clone.default", [x]).kind == "unwritten"


@pytest.mark.parametrize(
    ("x", "answer", "kind"),
    [
        (3.4e38, np.inf, None),  # 6.8e38 rounds to infinity
        (3.4e38, 3.4e38, "nonfinite"),
        (-3.4e38, np.inf, "nonfinite"),
        (np.nan, np.nan, None),
        (np.nan, 0.0, "nonfinite"),
        (np.inf, np.inf, None),
        (np.inf, np.nan, "nonfinite"),
        (1.0, np.inf, "nonfinite"),
        (1.70141173e38, np.inf, "nonfinite"),  # doubling is exact
        (1.70141173e38, 3.4028235e38, None),
    ],
)
def test_classes_of_numbers(x: float, answer: float, kind: str | None) -> None:
    array = np.array([x], np.float32)
    assert _on(Ok((np.array([answer], np.float32),)), "aten.add.Tensor", [array, array]).kind == kind


@pytest.mark.parametrize("answer", [np.inf, 3.4028235e38])
def test_where_the_bound_reaches_over_the_largest_number_both_are_right(answer: float) -> None:
    x = np.array([88.72284], np.float32)
    assert _on(Ok((np.array([answer], np.float32),)), "aten.exp.default", [x]).kind is None


def test_float16_overflows_at_its_own_limit() -> None:
    x = np.array([60000.0], np.float16)
    assert _on(Ok((np.array([np.inf], np.float16),)), "aten.mul.Scalar", [x, 2]).kind is None
    assert _on(Ok((np.array([65504], np.float16),)), "aten.mul.Scalar", [x, 2]).kind == "nonfinite"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("aten.mm.default", [np.array([[3e38, 3e38]], np.float32), np.array([[-2.0], [3e38]], np.float32)]),
        ("aten.sum.dim_IntList", [np.array([[-3e38, -3e38, 3e38, 3e38, 3e38, 3e38, 3e38]], np.float32), [1]]),
    ],
)
def test_partial_sums_that_overflow_both_ways_may_end_anywhere(name: str, args: list[Any]) -> None:
    """Seen on CUDA: -inf first, then +inf, gives NaN, where another order gives an infinity."""
    shape = (1, 1) if name == "aten.mm.default" else (1,)
    for answer in (np.inf, -np.inf, np.nan):
        assert _on(Ok((np.full(shape, answer, np.float32),)), name, args).kind is None
    one_way = [abs(args[0]), abs(args[1]) if name == "aten.mm.default" else args[1]]
    assert _on(Ok((np.full(shape, np.inf, np.float32),)), name, one_way).kind is None
    assert _on(Ok((np.full(shape, np.nan, np.float32),)), name, one_way).kind == "nonfinite"


def test_zero_size() -> None:
    empty = np.zeros((0, 5), np.float32)
    assert _on(Ok((empty,)), "aten.exp.default", [empty]).kind is None
    assert _on(Ok((np.zeros((0, 4), np.float32),)), "aten.exp.default", [empty]).kind == "shape"
    nothing = np.zeros((3, 0), np.float32)
    assert _on(Ok((np.zeros(3, np.float32),)), "aten.sum.dim_IntList", [nothing, [1]]).kind is None


WGSL = Policy(flushes_subnormals=True, assumes_finite=True, accuracy="wgsl", source="WGSL 15.7")


def test_permitted_by_accuracy() -> None:
    """tanh by its definition through exponentials has an absolute error near zero; WGSL lets it."""
    x = np.array([1e-4, 0.01, 0.5, 3], np.float32)
    defined = (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))
    assert _on(Ok((defined,)), "aten.tanh.default", [x]).kind == "wrong"
    verdict = _on(Ok((defined,)), "aten.tanh.default", [x], policy=WGSL)
    assert verdict.kind == "permitted"
    assert not verdict.failed
    assert "WGSL 15.7" in verdict.message
    assert _on(Ok((defined + np.float32(0.01),)), "aten.tanh.default", [x], policy=WGSL).kind == "wrong"


def test_permitted_by_flushing() -> None:
    x = np.array([1e-40, 1.0, 2.0], np.float32)
    flushed = np.array([0.0, 1.0, 2.0], np.float32)
    assert _on(Ok((flushed,)), "aten.clone.default", [x]).kind == "wrong"
    assert _on(Ok((flushed,)), "aten.clone.default", [x], policy=Policy(flushes_subnormals=True)).kind == "permitted"
    zeroed = np.array([0.0, 0.0, 2.0], np.float32)
    assert _on(Ok((zeroed,)), "aten.clone.default", [x], policy=Policy(flushes_subnormals=True)).kind == "wrong"


def test_flushing_is_magnified_as_the_operator_does() -> None:
    """A subnormal times 1e38: zero is permitted, anything else is not."""
    x, y = np.array([1e-39], np.float32), np.array([1e38], np.float32)
    policy = Policy(flushes_subnormals=True, source="it says so")
    assert _on(Ok((np.zeros(1, np.float32),)), "aten.mul.Tensor", [x, y], policy=policy).kind == "permitted"
    assert _on(Ok((np.full(1, 0.5, np.float32),)), "aten.mul.Tensor", [x, y], policy=policy).kind == "wrong"


def test_permitted_by_assuming_finite_numbers() -> None:
    x = np.array([np.nan, 1.0], np.float32)
    dropped = np.array([0.0, 1.0], np.float32)
    policy = Policy(assumes_finite=True, source="WGSL 15.7.2")
    assert _on(Ok((dropped,)), "aten.relu.default", [x]).kind == "nonfinite"
    assert _on(Ok((dropped,)), "aten.relu.default", [x], policy=policy).kind == "permitted"
    finite = np.array([1.0, 2.0], np.float32)
    made = np.array([np.nan, 2.0], np.float32)
    assert _on(Ok((made,)), "aten.relu.default", [finite], policy=policy).kind == "nonfinite"


def test_ties_are_free_and_indices_must_select() -> None:
    x = np.array([[1, 3, 3, 2], [5, 0, 5, 5]], np.float32)
    for answer, kind in [([1, 0], None), ([2, 3], None), ([3, 0], "wrong"), ([4, 0], "wrong"), ([-1, 0], "wrong")]:
        assert _on(Ok((np.array(answer),)), "aten.argmax.default", [x, 1]).kind == kind, answer
    assert _on(Ok((np.array([1, 0], np.int32),)), "aten.argmax.default", [x, 1]).kind == "dtype"


def test_top_k_is_a_permutation_of_the_largest() -> None:
    x = np.array([4, 9, 9, 1, 9], np.float32)
    values = np.array([9, 9, 9], np.float32)
    for answer, kind in [([1, 2, 4], None), ([4, 1, 2], None), ([1, 1, 2], "wrong"), ([1, 2, 0], "wrong")]:
        assert _on(Ok((values, np.array(answer))), "aten.topk.default", [x, 3]).kind == kind, answer
    assert _on(Ok((values[::-1] - 1, np.array([1, 2, 4]))), "aten.topk.default", [x, 3]).kind == "wrong"


def test_sort_with_nan_last() -> None:
    x = np.array([2, np.nan, 1, 2], np.float32)
    values, indices = torch.sort(torch.from_numpy(x))
    assert _on(Ok((values.numpy(), indices.numpy())), "aten.sort.default", [x]).kind is None
    assert _on(Ok((values.numpy(), np.array([2, 3, 0, 1]))), "aten.sort.default", [x]).kind is None
    assert _on(Ok((values.numpy(), np.array([2, 3, 3, 1]))), "aten.sort.default", [x]).kind == "wrong"


def test_integers_and_booleans_are_exact() -> None:
    assert _on(Ok((X >= 0.5,)), "aten.ge.Scalar", [X, 0.5]).kind is None
    flipped = X >= 0.5
    flipped[0, 0] = True
    verdict = _on(Ok((flipped,)), "aten.ge.Scalar", [X, 0.5])
    assert verdict.kind == "wrong"
    assert verdict.index == 0


def test_who_is_to_blame() -> None:
    case, found = _case("aten.exp.default", [X])
    right, wrong, other = Ok((EXP,)), Ok((EXP * np.float32(1.01),)), Ok((EXP * np.float32(1.02),))
    assert judge_pair(case, right, right, found).kind is None
    assert judge_pair(case, wrong, right, found).kind == "wrong"
    assert judge_pair(case, right, wrong, found).kind == "reference-suspect"
    assert judge_pair(case, wrong, wrong, found).kind == "reference-suspect"
    assert judge_pair(case, other, wrong, found).kind == "wrong"
    assert judge_pair(case, Crash(-11), wrong, found).kind == "crash"
    assert judge_pair(case, right, Timeout(1.0), found).kind is None


def test_a_bfloat16_output_is_judged_in_its_own_units() -> None:
    import ml_dtypes

    x = X.astype(ml_dtypes.bfloat16)
    right = np.exp(x.astype(np.float32)).astype(ml_dtypes.bfloat16)
    assert _on(Ok((right,)), "aten.exp.default", [x]).kind is None
    assert _on(Ok((right * ml_dtypes.bfloat16(1.05),)), "aten.exp.default", [x]).kind == "wrong"


def test_the_reference_settles_a_dtype_that_devices_disagree_on() -> None:
    """CUDA keeps layer_norm's statistics of float16 inputs in float32, the CPU in float16."""
    x = X.astype(np.float16)
    case, found = _case("aten.native_layer_norm.default", [x, [15], None, None, 1e-5])
    wide = x.astype(np.float32)
    mean, deviation = wide.mean(-1, keepdims=True), np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    ok = Ok((((wide - mean) / deviation).astype(np.float16), mean, (1 / deviation).astype(np.float32)))
    assert judge(case, ok, found).kind == "dtype"
    assert judge(case, ok, found, reference=ok).kind is None
    assert judge_pair(case, ok, ok, found).kind is None


def test_an_infinity_frees_only_what_depends_on_it() -> None:
    x = np.array([1.0, np.inf, 2.0], np.float32)
    right, elsewhere = np.exp(x), np.exp(x)
    right[1], elsewhere[0] = 0.0, 5.0
    assert _on(Ok((right,)), args=[x], policy=WGSL).kind == "permitted"
    assert _on(Ok((elsewhere,)), args=[x], policy=WGSL).kind == "wrong"


def test_flushing_widens_the_bound_only_near_zero() -> None:
    """The smallest normal float16 is 6.1e-5: no excuse for an error of that size in a result of 0.001."""
    x = np.array([0.002, 1e-4], np.float16)
    half = (x * np.float16(0.5)).astype(np.float16)
    near_zero, far = half.copy(), half.copy()
    near_zero[1], far[0] = 0.0, half[0] * np.float16(1.03)
    assert _on(Ok((near_zero,)), "aten.mul.Tensor", [x, 0.5], policy=WGSL).kind == "permitted"
    assert _on(Ok((far,)), "aten.mul.Tensor", [x, 0.5], policy=WGSL).kind == "wrong"


def test_a_half_precision_builtin_is_allowed_its_own_units() -> None:
    x = np.array([6.5], np.float16)
    off_by_two = np.exp(x.astype(np.float64)).astype(np.float16) * np.float16(1.002)
    assert _on(Ok((off_by_two,)), "aten.exp.default", [x]).kind == "wrong"
    assert _on(Ok((off_by_two,)), "aten.exp.default", [x], policy=WGSL).kind == "permitted"


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
    verdict = _on(Ok((off,)), "aten.pow.Tensor_Scalar", [x, exponent], policy=Policy(accuracy=accuracy))
    assert verdict.kind == kind


@pytest.mark.parametrize(("accuracy", "kind"), [("opencl", "permitted"), ("wgsl", "wrong"), ("cuda-fast", "wrong")])
def test_a_pow_that_needs_a_logarithm_says_nothing_of_negative_numbers(accuracy: str, kind: str) -> None:
    x = np.full(1, -3.7, np.float32)
    off = x * x * np.float32(1 + 5e-7)
    assert _on(Ok((off,)), "aten.pow.Tensor_Scalar", [x, 2], policy=Policy(accuracy=accuracy)).kind == kind


@pytest.mark.parametrize("accuracy", ["opencl", "wgsl", "cuda-fast"])
def test_a_power_of_nothing_or_infinity_is_what_it_is(accuracy: str) -> None:
    x = np.array([0.0, np.inf, -np.inf, np.nan], np.float32)
    policy = Policy(accuracy=accuracy)
    assert _on(Ok((x * x,)), "aten.pow.Tensor_Scalar", [x, 2], policy=policy).kind is None
    for wrong in [1.0, np.inf, np.inf, np.nan], [0.0, 3.4e38, np.inf, np.nan], [0.0, np.inf, np.inf, 1.0]:
        given = Ok((np.array(wrong, np.float32),))
        assert _on(given, "aten.pow.Tensor_Scalar", [x, 2], policy=policy).kind in ("wrong", "nonfinite")


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
    verdict = _on(Ok((off,)), f"aten.{operator}.default", [value], policy=Policy(accuracy=accuracy))
    assert verdict.kind == ("permitted" if permitted else "wrong")


def test_fast_math_is_permitted_as_far_as_its_table_goes() -> None:
    """tvm-cuda on an H100, where TVM compiles with --use_fast_math: three of its results."""
    fast = Policy(flushes_subnormals=True, accuracy="cuda-fast", source="CUDA")
    x = np.array([0.02], np.float32)
    seen, wrong = np.array([0.0199975017], np.float32), np.array([0.0200175], np.float32)
    assert _on(Ok((seen,)), "aten.tanh.default", [x]).kind == "wrong"
    assert _on(Ok((seen,)), "aten.tanh.default", [x], policy=fast).kind == "permitted"
    assert _on(Ok((wrong,)), "aten.tanh.default", [x], policy=fast).kind == "wrong"
    scores = np.array([[0.0, -90.5]], np.float32)
    flushed, other = np.array([[1.0, 0.0]], np.float32), np.array([[1.0, 1e-37]], np.float32)
    assert _on(Ok((flushed,)), "aten._softmax.default", [scores, -1, False], policy=fast).kind == "permitted"
    assert _on(Ok((other,)), "aten._softmax.default", [scores, -1, False], policy=fast).kind == "wrong"


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
    assert _on(Ok((given,)), "aten.cos.default", [value]).kind == "wrong"
    verdict = _on(Ok((given,)), "aten.cos.default", [value], policy=fast)
    assert verdict.kind == ("permitted" if permitted else "wrong")


def test_tritons_division_is_permitted_two_units() -> None:
    """torch-inductor on an H100: one unit more than IEEE division has, on a recorded input."""
    x, y = np.array([1.0], np.float32), np.array([3.0], np.float32)
    third = np.float32(1) / np.float32(3)
    off = np.array([third + 2 * np.spacing(third)], np.float32)
    far = np.array([third + 4 * np.spacing(third)], np.float32)
    triton = Policy(accuracy="triton", source="PTX ISA")
    assert _on(Ok((off,)), "aten.div.Tensor", [x, y]).kind == "wrong"
    assert _on(Ok((off,)), "aten.div.Tensor", [x, y], policy=triton).kind == "permitted"
    assert _on(Ok((far,)), "aten.div.Tensor", [x, y], policy=triton).kind == "wrong"


def test_driver_messages_lose_their_frames() -> None:
    drawn = "invalid shader: no definition in scope for identifier: `i8` ┌─ wgsl:5:68 │ 5 │ var<storage> x"
    assert _on(BuildError(drawn)).message == "invalid shader: no definition in scope for identifier: `i8`"


RIGHT, FAR, FARTHER = Ok((EXP,)), Ok((EXP * np.float32(1.001),)), Ok((EXP * np.float32(1.002),))
ALSO_RIGHT = Ok((np.nextafter(EXP, np.float32(np.inf)),))


@pytest.mark.parametrize(
    ("outcome", "kind"), [(RIGHT, None), (FAR, "reference-suspect"), (Crash(-11), "crash"), (Timeout(5.0), "timeout")]
)
def test_outputs_of_the_reference_outside_the_bound_put_it_in_doubt(outcome: RunOutcome, kind: str | None) -> None:
    case, found = _case("aten.exp.default", [X])
    assert judge_reference(case, outcome, found).kind == kind


@pytest.mark.parametrize(
    ("first", "again", "kind"),
    [
        (RIGHT, RIGHT, None),
        (RIGHT, ALSO_RIGHT, None),  # sums in another order every time
        (RIGHT, FAR, "nondeterministic"),
        (RIGHT, Crash(-11), "crash"),
        (RIGHT, Unsupported("gone"), None),
        (FAR, FAR, "wrong"),
        (FAR, FARTHER, "nondeterministic"),
        (FAR, RIGHT, "nondeterministic"),
        (FAR, Timeout(5.0), "wrong"),
    ],
)
def test_two_runs_are_judged_together(first: Ok, again: RunOutcome, kind: str | None) -> None:
    case, found = _case("aten.exp.default", [X])
    verdict = judge_repeated(case, first, judge(case, first, found), again, found)
    assert verdict.kind == kind


def test_the_wrong_one_of_runs_that_differ_is_named() -> None:
    case, found = _case("aten.exp.default", [X])
    assert judge_differing(case, [RIGHT, ALSO_RIGHT], found) is None
    wrong = judge_differing(case, [RIGHT, FAR, FARTHER], found)
    assert wrong is not None
    assert wrong[0] is FAR
    assert wrong[1].kind == "nondeterministic"
    assert wrong[1].message.startswith("runs on the same values differ, and not all are right: wrong, output 0")


def test_what_does_not_run_again_is_nondeterministic() -> None:
    verdict = judge_not_repeated("out of memory")
    assert (verdict.kind, verdict.failed) == ("nondeterministic", True)
    assert "out of memory" in verdict.message
