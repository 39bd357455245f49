"""Wrong implementations are caught; beside each stands the right one, which passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapml_fuzz.oracle.difference import difference
from tests.oracle.support import as_array, run_torch, verdict_on

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((16, 128)).astype(np.float32)
# A layer_norm input like MiniLM's: a few large channels, a per-token mean.
ACTIVATIONS = (NORMAL * 1.3 + np.where(np.arange(128) == 7, 200, 0)).astype(np.float32)


def _norm(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(np.square(x - mean).mean(-1, keepdims=True) + np.float32(eps))


LAYER_NORM = "aten.layer_norm.default"


def test_missing_eps() -> None:
    x = NORMAL * np.float32(1e-2)
    args = [x, [128], None, None, 1e-5]
    assert verdict_on(_norm(x), LAYER_NORM, args).kind is None
    assert verdict_on(_norm(x, 0.0), LAYER_NORM, args).kind == "wrong"


def test_missing_eps_on_equal_rows() -> None:
    x = np.full((3, 128), 0.7, np.float32)
    args = [x, [128], None, None, 1e-5]
    assert verdict_on(np.zeros_like(x), LAYER_NORM, args).kind is None
    with np.errstate(invalid="ignore"):
        assert verdict_on(_norm(x, 0.0) * np.float32(np.nan), LAYER_NORM, args).kind == "nonfinite"


@pytest.mark.parametrize("offset", [300.0, 3000.0])
def test_variance_by_the_textbook_formula(offset: float) -> None:
    """E[x^2] - E[x]^2 loses the square of mean / deviation: an outlier channel seen along its own axis."""
    x = NORMAL + np.float32(offset)
    args = [x, [-1]]
    kwargs = {"correction": 0}
    textbook = np.square(x).mean(-1) - np.square(x.mean(-1))
    assert verdict_on(x.var(-1), "aten.var.correction", args, kwargs).kind is None
    assert verdict_on(textbook, "aten.var.correction", args, kwargs).kind == "wrong"


def test_softmax_without_subtracting_the_maximum() -> None:
    """Magnitudes as observed in attention, masked by the smallest number and with a few large scores."""
    x = NORMAL * np.float32(30)
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(x)
        naive = powers / powers.sum(-1, keepdims=True)
    assert (
        verdict_on(run_torch("aten._softmax.default", [x, -1, False]), "aten._softmax.default", [x, -1, False]).kind
        is None
    )
    assert verdict_on(naive, "aten._softmax.default", [x, -1, False]).kind == "nonfinite"


def test_tanh_that_overflows() -> None:
    x = np.array([-60, -1, 0, 1, 20, 60, 100], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = np.exp(x), np.exp(-x)
        doubled = np.exp(2 * x)
        assert verdict_on((doubled - 1) / (doubled + 1), "aten.tanh.default", [x]).kind == "nonfinite"
        assert verdict_on((up - down) / (up + down), "aten.tanh.default", [x]).kind in ("nonfinite", "wrong")
    assert verdict_on(np.tanh(x), "aten.tanh.default", [x]).kind is None


def test_gelu_whose_tanh_overflows() -> None:
    x = np.array([-30, -1, 0, 1, 8, 12, 30], np.float32)
    inner = np.float32(0.79788456) * (x + np.float32(0.044715) * x * x * x)
    with np.errstate(over="ignore", invalid="ignore"):
        doubled = np.exp(2 * inner)
        bad = np.float32(0.5) * x * (1 + (doubled - 1) / (doubled + 1))
    assert verdict_on(bad, "aten.gelu.default", [x], {"approximate": "tanh"}).kind == "nonfinite"


@pytest.mark.parametrize("n", [128, 1024])
def test_sum_in_float16(n: int) -> None:
    x = RNG.random((8, n)).astype(np.float16)
    wide = x.astype(np.float32).sum(-1).astype(np.float16)
    narrow = np.add.accumulate(x, axis=-1, dtype=np.float16)[..., -1]
    assert verdict_on(wide, "aten.sum.dim_IntList", [x, [-1]]).kind is None
    assert verdict_on(narrow, "aten.sum.dim_IntList", [x, [-1]]).kind == "wrong"


def test_matrix_product_in_float16() -> None:
    a, b = RNG.standard_normal((8, 256)).astype(np.float16), RNG.standard_normal((256, 8)).astype(np.float16)
    wide = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)
    narrow = np.add.accumulate(a[:, :, None] * b[None], axis=1, dtype=np.float16)[:, -1]
    assert verdict_on(wide, "aten.mm.default", [a, b]).kind is None
    assert verdict_on(narrow, "aten.mm.default", [a, b]).kind == "wrong"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_bias_added_to_parts_of_a_product_in_float16(dtype: str) -> None:
    """The whole product may be stored before the bias is added, in the tensors' dtype; its halves may not be."""
    a, b = RNG.standard_normal((8, 256)).astype(np.float16), RNG.standard_normal((256, 8)).astype(np.float16)
    a[:, 128:], b[128:] = -a[:, :128], b[:128] + RNG.standard_normal((128, 8)).astype(np.float16) * np.float16(0.01)
    a, b = a.astype(dtype), b.astype(dtype)
    bias = RNG.standard_normal((8, 8)).astype(dtype) * np.asarray(0.01, dtype)
    parts = [(a[:, k].astype(np.float32) @ b[k].astype(np.float32)) for k in (slice(128), slice(128, None))]
    whole = (parts[0] + parts[1]).astype(dtype)
    halves = parts[0].astype(np.float16).astype(np.float32) + parts[1].astype(np.float16)
    args = [bias, a, b]
    assert verdict_on((whole.astype(np.float32) + bias).astype(dtype), "aten.addmm.default", args).kind is None
    assert verdict_on((halves + bias).astype(dtype), "aten.addmm.default", args).kind == "wrong"


def test_a_product_of_float32_stored_in_float16() -> None:
    a, b = RNG.standard_normal((8, 256)).astype(np.float32), RNG.standard_normal((256, 8)).astype(np.float32)
    stored = (a @ b).astype(np.float16) + NORMAL[:8, :8]
    assert verdict_on(a @ b + NORMAL[:8, :8], "aten.addmm.default", [NORMAL[:8, :8], a, b]).kind is None
    assert verdict_on(stored, "aten.addmm.default", [NORMAL[:8, :8], a, b]).kind == "wrong"


def test_softmax_whose_sum_is_in_float16() -> None:
    x = (RNG.standard_normal((4, 2000)) * 0.1).astype(np.float16)
    powers = np.exp(x.astype(np.float32) - x.max(-1, keepdims=True).astype(np.float32))
    narrow = np.add.accumulate(powers.astype(np.float16), axis=-1, dtype=np.float16)[..., -1:]
    right = (powers / powers.sum(-1, keepdims=True)).astype(np.float16)
    wrong = (powers / narrow.astype(np.float32)).astype(np.float16)
    assert verdict_on(right, "aten._softmax.default", [x, -1, False]).kind is None
    assert verdict_on(wrong, "aten._softmax.default", [x, -1, False]).kind == "wrong"


def test_matrix_product_with_ten_bits() -> None:
    """TF32 keeps 10 bits of each factor."""
    a, b = RNG.standard_normal((8, 256)).astype(np.float32), RNG.standard_normal((256, 8)).astype(np.float32)
    short = [(m.view(np.uint32) & 0xFFFFE000).view(np.float32) for m in (a, b)]
    assert verdict_on(a @ b, "aten.mm.default", [a, b]).kind is None
    assert verdict_on(short[0] @ short[1], "aten.mm.default", [a, b]).kind == "wrong"


@pytest.mark.parametrize("shape", [(5, 97), (4, 384)])
def test_a_tail_that_is_left_out(shape: tuple[int, int]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    whole = shape[1] // 8 * 8 - (8 if shape[1] % 8 == 0 else 0)
    assert verdict_on(x.sum(-1), "aten.sum.dim_IntList", [x, [-1]]).kind is None
    assert verdict_on(x[:, :whole].sum(-1), "aten.sum.dim_IntList", [x, [-1]]).kind == "wrong"


def test_a_masked_tail_that_counts() -> None:
    """Padding lanes hold zeros, and exp(0 - max) is not zero."""
    x = RNG.standard_normal((4, 13)).astype(np.float32)
    padded = np.concatenate([x, np.zeros((4, 3), np.float32)], -1)
    powers = np.exp(padded - padded.max(-1, keepdims=True))
    assert (
        verdict_on((powers / powers.sum(-1, keepdims=True))[:, :13], "aten._softmax.default", [x, -1, False]).kind
        == "wrong"
    )


def test_scaled_along_the_wrong_axis() -> None:
    x, weight = NORMAL[:, :16], RNG.standard_normal(16).astype(np.float32)
    args = [x, [16], weight, None, 1e-5]
    assert verdict_on(_norm(x) * weight, LAYER_NORM, args).kind is None
    assert verdict_on(_norm(x) * weight[:, None], LAYER_NORM, args).kind == "wrong"


@pytest.mark.parametrize(
    "name", ["aten._softmax.default", "aten.gelu.default", "aten.permute.default", "aten.add.Tensor"]
)
def test_one_element_wrong(name: str) -> None:
    args = {
        "aten._softmax.default": [NORMAL, -1, False],
        "aten.gelu.default": [NORMAL],
        "aten.permute.default": [NORMAL, [1, 0]],
        "aten.add.Tensor": [NORMAL, NORMAL],
    }[name]
    (right,) = run_torch(name, args)
    assert verdict_on(right, name, args).kind is None
    wrong = right.copy()
    wrong.reshape(-1)[777] *= np.float32(1 + 1e-4)
    verdict = verdict_on(wrong, name, args)
    assert verdict.kind == "wrong"
    assert verdict.index == 777


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_last_bit_that_moves_in_a_copy(dtype: str) -> None:
    x = NORMAL.astype(dtype)
    (right,) = run_torch("aten.permute.default", [x, [1, 0]])
    wrong = np.nextafter(right, np.asarray(np.inf, dtype))
    assert verdict_on(right, "aten.permute.default", [x, [1, 0]]).kind is None
    assert verdict_on(wrong, "aten.permute.default", [x, [1, 0]]).kind == "wrong"


def test_overwriting_instead_of_accumulating() -> None:
    a, b = NORMAL[:8, :64], RNG.standard_normal((64, 8)).astype(np.float32)
    last_tile = a[:, 32:] @ b[32:]
    assert verdict_on(last_tile, "aten.mm.default", [a, b]).kind == "wrong"


def test_a_constant_that_is_cut_short() -> None:
    x = np.linspace(-6, 6, 500, dtype=np.float32)
    short = np.exp2(x * np.float32(1.4427))
    assert verdict_on(short, "aten.exp.default", [x]).kind == "wrong"


def test_activations_keep_their_small_channels() -> None:
    """Beside an outlier channel of 200 an error in the others must not drown."""
    args = [ACTIVATIONS, [128], None, None, 1e-12]
    (right,) = run_torch(LAYER_NORM, args)
    assert verdict_on(right, LAYER_NORM, args).kind is None
    assert verdict_on(right + np.float32(2e-5), LAYER_NORM, args).kind == "wrong"


def test_finite_where_nan_belongs() -> None:
    x = np.array([1, np.nan, 2], np.float32)
    assert verdict_on(as_array(np.maximum(x, 0)), "aten.relu.default", [x]).kind is None
    assert verdict_on(np.fmax(x, np.float32(0)), "aten.relu.default", [x]).kind == "nonfinite"


def test_the_largest_float64_is_a_number() -> None:
    """Beside an element that is wrong too, and where the largest number must come out exactly."""
    x = np.array([np.finfo(np.float64).max, 1.0, -2.0])
    clamped = np.maximum(x, 0.0)
    assert verdict_on(clamped, "aten.relu.default", [x]).kind is None
    verdict = verdict_on(clamped + np.array([0, 1e-9, 0]), "aten.relu.default", [x])
    assert (verdict.kind, verdict.index) == ("wrong", 1)
    bound = torch.zeros(3, dtype=torch.float64)
    assert difference(torch.from_numpy(clamped), torch.from_numpy(clamped), bound, "float64").ratio == 0.0
    assert verdict_on(np.array([np.inf, 1.0, 0.0]), "aten.relu.default", [x]).kind == "nonfinite"
