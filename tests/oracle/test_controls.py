"""Correct implementations stay inside the bound: torch itself, and other right ways to compute the same thing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.oracle.catalogue import CATALOGUE, DISTRIBUTIONS, Entry, drawing
from tests.oracle.controls import (
    LOG2_E,
    MOMENTS,
    SUMS,
    layer_norm,
    online_softmax,
    softmax_by_exp2,
)
from tests.oracle.support import as_array, run_torch, truth_of, verdict_on

# Defects of torch 2.13's own CPU kernels that the oracle found, each checked against torch's float64 result: oneDNN's
# gelu gives NaN for +inf (in float16 where the processor computes in it); its convolution multiplies an infinity next
# to the window by zero where the processor has tiles for bfloat16 (AMX); oneDNN flushes bfloat16 subnormals; flash
# attention turns rows of NaN into zeros; the half-precision erf has an absolute error of 3e-7, which is all of a small
# result.
_CPU = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch that is supported
_HALF_GELU, _TILES = bool(_CPU.get("avx512_fp16")), bool(_CPU.get("amx_bf16"))
ATTENTION = ("aten.scaled_dot_product_attention.default", "aten._scaled_dot_product_flash_attention_for_cpu.default")
ONEDNN = ("aten.gelu.default", "aten.addmm.default", "aten.linear.default", "aten.convolution.default")
HALVES = ("float16", "bfloat16")


def _is_defect(name: str, distribution: str, dtype: str) -> bool:
    return (
        (name == "aten.gelu.default" and distribution == "special")
        or (name == "aten.gelu.default" and _HALF_GELU and (distribution, dtype) == ("spread", "float16"))
        or (name == "aten.convolution.default" and _TILES and (distribution, dtype) == ("special", "bfloat16"))
        or (name in ATTENTION and distribution in ("special", "spread"))
        or (name == "aten.erf.default" and dtype in HALVES)
        or (name in ONEDNN and distribution == "minute" and dtype == "bfloat16")
    )


def _verdict(entry: Entry, distribution: str, dtype: str, seed: int) -> str:
    """What is wrong with torch on this entry, or nothing."""
    rng = np.random.default_rng(seed)
    args, kwargs = entry.arguments(drawing(rng, distribution, dtype), rng)
    try:
        outputs = run_torch(entry.name, args, kwargs)
    except (NotImplementedError, RuntimeError) as error:
        # No CPU kernel for this dtype: nothing to compare. Anything else is a broken entry.
        return "" if "not implemented" in str(error) else f"{entry.name} raised {error}"
    verdict = verdict_on(outputs, entry.name, args, kwargs)
    return f"{entry.name} on {distribution}: {verdict.kind} {verdict.message}" if verdict.kind else ""


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("distribution", list(DISTRIBUTIONS))
def test_torch_is_right(distribution: str, dtype: str) -> None:
    tried = [entry for entry in CATALOGUE if not _is_defect(entry.name, distribution, dtype)]
    assert [said for entry in tried if (said := _verdict(entry, distribution, dtype, seed=11))] == []


def test_known_defects_of_torch_are_seen() -> None:
    """The exceptions above are real: the day torch mends one, this fails and the exception goes.

    oneDNN's gelu has its defect where there is AVX-512; elsewhere torch's own kernel must pass.
    """
    small = drawing(np.random.default_rng(0), "normal", "float16")(1000) * np.float16(1e-3)
    assert verdict_on(run_torch("aten.erf.default", [small]), "aten.erf.default", [small]).kind == "wrong"
    query, key, value = np.random.default_rng(0).standard_normal((3, 1, 1, 4, 16)).astype(np.float32)
    query[..., 2, :] = np.nan
    heads = [query, key, value]
    assert verdict_on(run_torch(ATTENTION[0], heads), ATTENTION[0], heads).kind == "nonfinite"
    infinite = np.array([np.inf] * 16, np.float32)
    limit = run_torch("aten.gelu.default", [infinite])
    defect = bool(np.isnan(limit[0]).all())
    assert defect or torch.backends.cpu.get_cpu_capability() != "AVX512"
    assert verdict_on(limit, "aten.gelu.default", [infinite]).kind == ("nonfinite" if defect else None)
    if _HALF_GELU:
        limit = run_torch("aten.gelu.default", [infinite.astype(np.float16)])
        assert np.isnan(limit[0]).all()
    if _TILES:
        (entry,) = (e for e in CATALOGUE if e.name == "aten.convolution.default")
        assert "nonfinite" in _verdict(entry, "special", "bfloat16", seed=11)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("function", SUMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("distribution", [d for d in DISTRIBUTIONS if d != "special"])
@pytest.mark.parametrize("n", [2, 17, 384, 5000])
def test_sums_in_any_order(function: Callable[[np.ndarray], np.ndarray], distribution: str, n: int) -> None:
    x = drawing(np.random.default_rng(n), distribution, "float32")(6, n)
    verdict = verdict_on(function(x), "aten.sum.dim_IntList", [x, [-1]])
    assert verdict.kind is None, verdict.message


@pytest.mark.parametrize("terms", [[0.1], [0.1, 0.7], [1 / 3, 2 / 3, 1 / 7], [1.0, 1.0 + 2**-20]])
def test_a_long_sum_of_few_numbers(terms: list[float]) -> None:
    """Repeated terms round the same way each time: 150,000 of them lose far more than sqrt(n) roundings."""
    x = np.resize(np.array(terms, np.float32), 150_000)
    np.random.default_rng(0).shuffle(x)
    total = np.add.accumulate(x, dtype=np.float32)[-1]
    assert verdict_on(np.asarray(total), "aten.sum.default", [x]).kind is None


def test_a_matrix_product_of_constants_in_sequence() -> None:
    a, b = np.full((4, 3000), 0.1, np.float32), np.full((3000, 5), 0.3, np.float32)
    total = np.zeros((4, 5), np.float32)
    for k in range(3000):
        total += a[:, k : k + 1] * b[k : k + 1]
    assert verdict_on(total, "aten.mm.default", [a, b]).kind is None


def test_a_matrix_product_in_sequence_and_in_blocks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((8, 1000)).astype(np.float32), rng.standard_normal((1000, 6)).astype(np.float32)
    products = a[:, None, :] * b.T[None]
    for function in SUMS:
        assert verdict_on(function(products), "aten.mm.default", [a, b]).kind is None


def _of_two_sizes(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Factors of a product and a bias that all but cancels it, so that the rounding of the product is what is left."""
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((16, 64), (64, 24)))
    x, y = x.to(dtype), y.to(dtype)
    return x, y, (0.98 * -(x.float() @ y.float())).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["aten.addmm.default", "aten.baddbmm.default", "aten.linear.default"])
def test_a_bias_added_to_a_stored_product(name: str, dtype: torch.dtype) -> None:
    """What cuBLASLt does where it splits k, and torch's linear with inputs that are not contiguous."""
    x, y, bias = _of_two_sizes(dtype)
    bias = bias[0] if name == "aten.linear.default" else bias
    total = (bias.float() + (x.float() @ y.float()).to(dtype).float()).to(dtype)
    args: list[torch.Tensor] = [bias, x, y]
    if name == "aten.linear.default":
        args = [x, y.T.contiguous(), bias]
    if name == "aten.baddbmm.default":
        args, total = [t[None] for t in args], total[None]
    verdict = verdict_on(total, name, [as_array(t) for t in args])
    assert verdict.kind is None
    assert 0.1 < verdict.metrics.ratio <= 1


def test_linear_of_torch_adds_its_bias_to_a_stored_product() -> None:
    x, y, bias = _of_two_sizes(torch.bfloat16)
    columns = x.reshape(4, 4, 64).transpose(1, 2).contiguous().transpose(1, 2)
    stored = torch.nn.functional.linear(columns, y.T, bias[0])
    assert torch.equal(stored, (columns @ y) + bias[0])
    args = [as_array(t) for t in (columns, y.T.contiguous(), bias[0])]
    assert verdict_on(stored, "aten.linear.default", args).kind is None


def test_a_stored_product_out_of_range() -> None:
    """70,000 is infinite in float16. So is 71,000, whatever came before; 60,000 is as right as infinity."""
    x, y = np.full((1, 1), 280, np.float16), np.full((1, 3), 250, np.float16)
    bias = np.array([1000, -10_000, np.nan], np.float16)
    for small in (np.inf, 60_000):
        right = np.array([[np.inf, small, np.nan]], np.float16)
        assert verdict_on(right, "aten.addmm.default", [bias, x, y]).kind is None
    for wrong in ([65504, 60_000, np.nan], [np.inf, 60_000, np.inf]):
        assert verdict_on(np.array([wrong], np.float16), "aten.addmm.default", [bias, x, y]).kind == "nonfinite"


def _softmax_inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((16, 200)) * 8
    masked = np.where(rng.random((16, 200)) < 0.3, -3.4e38, scores)
    return [x.astype(np.float32) for x in (scores, masked, scores * 40, np.zeros((4, 50)), *_degenerate())]


def _degenerate() -> list[np.ndarray]:
    """Equal scores of the largest size; a rising row, where every element is a new maximum."""
    return [np.full((4, 50), 3e38), np.linspace(-3, 3, 3840).reshape(10, 384)]


@pytest.mark.parametrize("function", [online_softmax, softmax_by_exp2], ids=lambda f: f.__name__)
@pytest.mark.parametrize("x", _softmax_inputs(), ids=["scores", "masked", "steep", "zeros", "huge", "rising"])
def test_softmax(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> None:
    assert verdict_on(function(x), "aten._softmax.default", [x, -1, False]).kind is None


def test_exp_by_exp2() -> None:
    x = np.linspace(-80, 80, 4001, dtype=np.float32)
    assert verdict_on(np.exp2(x * LOG2_E), "aten.exp.default", [x]).kind is None


@pytest.mark.parametrize("moments", MOMENTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("distribution", ["normal", "shifted", "outliers", "equal", "ordered", "large"])
def test_layer_norm_the_right_ways(
    moments: Callable[..., tuple[np.ndarray, np.ndarray]], folded: bool, distribution: str
) -> None:
    rng = np.random.default_rng(4)
    x = drawing(rng, distribution, "float32")(20, 384)
    weight, bias = rng.standard_normal((2, 384)).astype(np.float32)
    normal = layer_norm(x, moments, folded=folded, eps=1e-5)
    args = [x, [384], weight, bias, 1e-5]
    assert verdict_on(normal * weight + bias, "aten.layer_norm.default", args).kind is None


def test_gelu_the_right_ways() -> None:
    x = np.linspace(-30, 30, 6001, dtype=np.float32)
    half = np.float32(0.5)
    erf = torch.erf(torch.from_numpy(x) * np.float32(0.70710678)).numpy()
    assert verdict_on(half * x * (1 + erf), "aten.gelu.default", [x]).kind is None
    inner = np.float32(0.79788456) * (x + np.float32(0.044715) * x * x * x)
    good = half * x * (1 + np.tanh(inner))
    assert verdict_on(good, "aten.gelu.default", [x], {"approximate": "tanh"}).kind is None
    assert verdict_on(good, "aten.gelu.default", [x]).kind == "wrong"  # the tanh form is another function


def test_sigmoid_of_anything_is_finite() -> None:
    x = np.array([-1e30, -200, -100, -88, 0, 88, 100, 1e30], np.float32)
    with np.errstate(over="ignore"):
        naive = 1 / (1 + np.exp(-x))
    assert verdict_on(naive, "aten.sigmoid.default", [x]).kind is None
    tiny = truth_of("aten.sigmoid.default", [x]).values[0]
    assert verdict_on(tiny.astype(np.float32), "aten.sigmoid.default", [x]).kind is None


def test_rms_norm_whose_squares_overflow_is_unjudged() -> None:
    x = np.array([[1e20, 2e20, -1e20]], np.float32)
    for answer in (np.zeros((1, 3), np.float32), np.array([[0.70710677, 1.4142135, -0.70710677]], np.float32)):
        verdict = verdict_on(answer, "aten.rms_norm.default", [x, [3], None, 1e-6])
        assert verdict.kind is None
        assert "unjudged" in verdict.message
