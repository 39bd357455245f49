"""Verdicts: every outcome, form, classes of numbers, permission, selections, and who is to blame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.outcome import BuildError, Crash, Ok, RunError, RunOutcome, Timeout, Unsupported
from tapml_fuzz.judge import judge, judge_differing, judge_not_repeated, judge_pair, judge_reference, judge_repeated
from tests.judge.cases import EXP, X, made, on


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
    verdict = on(outcome)
    assert verdict.kind == kind
    assert "\n" not in verdict.message


def test_a_view_may_share_memory() -> None:
    assert on(Ok((X.T,), aliased=(0,)), "aten.permute.default", [X, [1, 0]]).kind is None


def test_the_worst_element_is_named() -> None:
    wrong = EXP.copy()
    wrong[1, 2] *= 1.01
    wrong[3, 3] *= 1.0001
    verdict = on(Ok((wrong,)))
    assert verdict.index == 17
    assert verdict.actual == wrong[1, 2]
    assert verdict.metrics.ratio > 1000
    assert verdict.metrics.max_ulp > 1000
    assert verdict.metrics.max_rel == pytest.approx(0.01, rel=1e-3)
    assert sum(verdict.metrics.histogram) == X.size
    assert 0.99 < verdict.metrics.cosine <= 1.0


def test_an_integer_poison_that_is_an_answer_is_no_fault() -> None:
    x = np.arange(4, dtype=np.int32)
    assert on(Ok((x.copy(),), unwritten=(1,)), "aten.clone.default", [x]).kind is None
    assert on(Ok((x + 1,), unwritten=(1,)), "aten.clone.default", [x]).kind == "unwritten"


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
    assert on(Ok((np.array([answer], np.float32),)), "aten.add.Tensor", [array, array]).kind == kind


@pytest.mark.parametrize("answer", [np.inf, 3.4028235e38])
def test_where_the_bound_reaches_over_the_largest_number_both_are_right(answer: float) -> None:
    x = np.array([88.72284], np.float32)
    assert on(Ok((np.array([answer], np.float32),)), "aten.exp.default", [x]).kind is None


def test_float16_overflows_at_its_own_limit() -> None:
    x = np.array([60000.0], np.float16)
    assert on(Ok((np.array([np.inf], np.float16),)), "aten.mul.Scalar", [x, 2]).kind is None
    assert on(Ok((np.array([65504], np.float16),)), "aten.mul.Scalar", [x, 2]).kind == "nonfinite"


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
        assert on(Ok((np.full(shape, answer, np.float32),)), name, args).kind is None
    one_way = [abs(args[0]), abs(args[1]) if name == "aten.mm.default" else args[1]]
    assert on(Ok((np.full(shape, np.inf, np.float32),)), name, one_way).kind is None
    assert on(Ok((np.full(shape, np.nan, np.float32),)), name, one_way).kind == "nonfinite"


def test_zero_size() -> None:
    empty = np.zeros((0, 5), np.float32)
    assert on(Ok((empty,)), "aten.exp.default", [empty]).kind is None
    assert on(Ok((np.zeros((0, 4), np.float32),)), "aten.exp.default", [empty]).kind == "shape"
    nothing = np.zeros((3, 0), np.float32)
    assert on(Ok((np.zeros(3, np.float32),)), "aten.sum.dim_IntList", [nothing, [1]]).kind is None


def test_ties_are_free_and_indices_must_select() -> None:
    x = np.array([[1, 3, 3, 2], [5, 0, 5, 5]], np.float32)
    for answer, kind in [([1, 0], None), ([2, 3], None), ([3, 0], "wrong"), ([4, 0], "wrong"), ([-1, 0], "wrong")]:
        assert on(Ok((np.array(answer),)), "aten.argmax.default", [x, 1]).kind == kind, answer
    assert on(Ok((np.array([1, 0], np.int32),)), "aten.argmax.default", [x, 1]).kind == "dtype"


def test_top_k_is_a_permutation_of_the_largest() -> None:
    x = np.array([4, 9, 9, 1, 9], np.float32)
    values = np.array([9, 9, 9], np.float32)
    for answer, kind in [([1, 2, 4], None), ([4, 1, 2], None), ([1, 1, 2], "wrong"), ([1, 2, 0], "wrong")]:
        assert on(Ok((values, np.array(answer))), "aten.topk.default", [x, 3]).kind == kind, answer
    assert on(Ok((values[::-1] - 1, np.array([1, 2, 4]))), "aten.topk.default", [x, 3]).kind == "wrong"


def test_sort_with_nan_last() -> None:
    x = np.array([2, np.nan, 1, 2], np.float32)
    values, indices = torch.sort(torch.from_numpy(x))
    assert on(Ok((values.numpy(), indices.numpy())), "aten.sort.default", [x]).kind is None
    assert on(Ok((values.numpy(), np.array([2, 3, 0, 1]))), "aten.sort.default", [x]).kind is None
    assert on(Ok((values.numpy(), np.array([2, 3, 3, 1]))), "aten.sort.default", [x]).kind == "wrong"


def test_integers_and_booleans_are_exact() -> None:
    assert on(Ok((X >= 0.5,)), "aten.ge.Scalar", [X, 0.5]).kind is None
    flipped = X >= 0.5
    flipped[0, 0] = True
    verdict = on(Ok((flipped,)), "aten.ge.Scalar", [X, 0.5])
    assert verdict.kind == "wrong"
    assert verdict.index == 0


def test_who_is_to_blame() -> None:
    case, found = made("aten.exp.default", [X])
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
    assert on(Ok((right,)), "aten.exp.default", [x]).kind is None
    assert on(Ok((right * ml_dtypes.bfloat16(1.05),)), "aten.exp.default", [x]).kind == "wrong"


def test_the_reference_settles_a_dtype_that_devices_disagree_on() -> None:
    """CUDA keeps layer_norm's statistics of float16 inputs in float32, the CPU in float16."""
    x = X.astype(np.float16)
    case, found = made("aten.native_layer_norm.default", [x, [15], None, None, 1e-5])
    wide = x.astype(np.float32)
    mean, deviation = wide.mean(-1, keepdims=True), np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    ok = Ok((((wide - mean) / deviation).astype(np.float16), mean, (1 / deviation).astype(np.float32)))
    assert judge(case, ok, found).kind == "dtype"
    assert judge(case, ok, found, reference=ok).kind is None
    assert judge_pair(case, ok, ok, found).kind is None


def test_driver_messages_lose_their_frames() -> None:
    drawn = "invalid shader: no definition in scope for identifier: `i8` ┌─ wgsl:5:68 │ 5 │ var<storage> x"
    assert on(BuildError(drawn)).message == "invalid shader: no definition in scope for identifier: `i8`"


RIGHT, FAR, FARTHER = Ok((EXP,)), Ok((EXP * np.float32(1.001),)), Ok((EXP * np.float32(1.002),))
ALSO_RIGHT = Ok((np.nextafter(EXP, np.float32(np.inf)),))


@pytest.mark.parametrize(
    ("outcome", "kind"), [(RIGHT, None), (FAR, "reference-suspect"), (Crash(-11), "crash"), (Timeout(5.0), "timeout")]
)
def test_outputs_of_the_reference_outside_the_bound_put_it_in_doubt(outcome: RunOutcome, kind: str | None) -> None:
    case, found = made("aten.exp.default", [X])
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
    case, found = made("aten.exp.default", [X])
    verdict = judge_repeated(case, first, judge(case, first, found), again, found)
    assert verdict.kind == kind


def test_the_wrong_one_of_runs_that_differ_is_named() -> None:
    case, found = made("aten.exp.default", [X])
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
