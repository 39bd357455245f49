"""Functions of one variable: tanh, sigmoid, silu, softplus, exp, erf."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import every, scores
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("float16", "bfloat16")
ALL = ("", *HALVES)


def _residuals() -> list[tuple[Tensor]]:
    """Residual streams with their outlier channels (up to 121 in magnitude)."""
    return [(t.flatten(0, 1)[:, 96:256],) for t in every("residual")]


def _logits() -> list[tuple[Tensor]]:
    return [(t[:6],) for t in every("logits")]


def _thresholds() -> list[tuple[Tensor, float, float]]:
    return [(t, 1.0, 20.0) for (t,) in _logits()]


def _shifted() -> list[tuple[Tensor]]:
    """What softmax exponentiates: masked scores less their maximum."""
    rows = [scores(batch, layer) for batch in range(3) for layer in (1, 5)]
    return [(r - r.amax(-1, keepdim=True),) for r in rows]


def _inner() -> list[tuple[Tensor]]:
    return [(t.flatten(0, 1)[:, :160] * math.sqrt(0.5),) for t in every("inner")]


SUBJECTS = (
    Subject("tanh", "pointwise", "aten.tanh.default", _residuals),
    Subject("sigmoid", "pointwise", "aten.sigmoid.default", _logits),
    Subject("silu", "pointwise", "aten.silu.default", _residuals),
    Subject("softplus", "pointwise", "aten.softplus.default", _thresholds),
    Subject("exp", "pointwise", "aten.exp.default", _shifted),
    Subject("erf", "pointwise", "aten.erf.default", _inner),
)


def tanh_by_expm1(x: Tensor, *, limit: float = 15.0, drops_nan: bool = False) -> Tensor:
    """(e - 1) / (e + 1) with e = exp(2|x|), without cancellation; beyond `limit` tanh is 1 in float32."""
    wide = x.float()
    size = wide.abs()
    grown = torch.expm1(2 * (torch.fmin(size, torch.tensor(limit)) if drops_nan else size.clamp(max=limit)))
    return torch.copysign(grown / (grown + 2), wide).to(x.dtype)


def tanh_by_two_exponentials(x: Tensor, *, narrow: torch.dtype = torch.float32) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), by a short series near zero, where the difference cancels."""
    wide = x.float()
    near = wide.abs() < 0.5
    far = torch.where(near, 1.0, wide.clamp(-15, 15)).to(narrow)
    up, down = torch.exp(far), torch.exp(-far)
    return torch.where(near, _fraction(wide, 5), ((up - down) / (up + down)).float()).to(x.dtype)


def _fraction(x: Tensor, depth: int) -> Tensor:
    """Lambert's continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...)))."""
    square, below = x * x, torch.full_like(x, 2 * depth + 1)
    for odd in range(2 * depth - 1, 0, -2):
        below = odd + square / below
    return x / below


def tanh_by_fraction(x: Tensor, *, guarded: bool = True, clamp: float = math.inf) -> Tensor:
    """A rational function that is good on [-4, 4], and 1 - 2 / (exp(2|x|) + 1) beyond."""
    wide = x.float()
    near = _fraction(wide.clamp(-clamp, clamp), 11)
    far = torch.copysign(1 - 2 / (torch.exp(2 * wide.abs()) + 1), wide)
    return (torch.where(wide.abs() <= 4, near, far) if guarded else near).to(x.dtype)


def sigmoid(x: Tensor, *, positive: bool = False) -> Tensor:
    """1 / (1 + exp(-x)); `positive`: exp(x) / (1 + exp(x))."""
    wide = x.float()
    powers = torch.exp(wide if positive else -wide)
    return ((powers if positive else 1.0) / (1 + powers)).to(x.dtype)


def sigmoid_by_tanh(x: Tensor) -> Tensor:
    return (0.5 + 0.5 * torch.tanh(0.5 * x.float())).to(x.dtype)


def sigmoid_in_two_branches(x: Tensor) -> Tensor:
    """No exponential of a positive number."""
    wide = x.float()
    powers = torch.exp(-wide.abs())
    return (torch.where(wide < 0, powers, 1.0) / (1 + powers)).to(x.dtype)


def silu(x: Tensor, *, narrow: torch.dtype = torch.float32) -> Tensor:
    wide = x.to(narrow)
    return (wide / (1 + torch.exp(-wide))).to(x.dtype)


def silu_in_place(x: Tensor, *, twice: bool = False) -> Tensor:
    """Vectors of four in a copy; the tail is one more vector, moved back to end with the row.

    `twice`: the moved vector is read from the copy, part of which is done already.
    """
    out = x.contiguous().clone().reshape(-1)
    before, whole = out.clone(), out.numel() // 4 * 4
    out[:whole] = silu(before[:whole])
    if whole != out.numel():
        out[-4:] = silu((out if twice else before)[-4:])
    return out.reshape(x.shape)


def softplus(
    x: Tensor, beta: float, threshold: float, *, at: float | None = None, clipped: float = math.inf, log1p: bool = True
) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x beyond the threshold.

    `at`: another threshold than the one asked for; `clipped`: the exponential's argument stops there.
    """
    wide = x.float()
    scaled = wide * beta
    powers = torch.exp(scaled.clamp(max=clipped))
    curve = (torch.log1p(powers) if log1p else torch.log(1 + powers)) / beta
    return torch.where(scaled > (threshold if at is None else at), wide, curve).to(x.dtype)


def softplus_with_half_powers(x: Tensor, beta: float, threshold: float) -> Tensor:
    wide = x.float()
    powers = torch.exp((wide * beta).to(x.dtype)).float()
    return torch.where(wide * beta > threshold, wide, torch.log1p(powers) / beta).to(x.dtype)


def softplus_by_maximum(x: Tensor, beta: float, threshold: float) -> Tensor:
    """max(x, 0) + log(1 + exp(-|x|)), which needs no threshold."""
    scaled = x.float() * beta
    return ((scaled.clamp(min=0) + torch.log1p(torch.exp(-scaled.abs()))) / beta).to(x.dtype)


def exp_by_exp2(x: Tensor, *, log2_e: float = math.log2(math.e)) -> Tensor:
    return torch.exp2(x.float() * log2_e).to(x.dtype)


def exp_by_bits(x: Tensor, *, low: float = -110, high: float = 100) -> Tensor:
    """2^n exp(r) with n put straight into the exponent bits, in two halves so that subnormals come out right."""
    inside = x.float().clamp(low, high)
    n = torch.round(inside * math.log2(math.e))
    rest = (inside - n * 0.693359375) + n * 2.12194440e-4  # Cody and Waite's two parts of ln 2
    whole = torch.where(torch.isnan(n), 0, n).to(torch.int32)
    halves = whole // 2, whole - whole // 2
    first, second = (((h + 127) << 23).view(torch.float32) for h in halves)
    return (torch.exp(rest) * first * second).to(x.dtype)


def erf_by_table(x: Tensor, *, order: int = 4) -> Tensor:
    """A table of 32 nodes per unit up to 4, and the Taylor series of that order about the nearest node."""
    wide = x.float()
    size = wide.abs().clamp(max=4)
    node = torch.where(torch.isnan(size), 0, torch.round(size * 32))
    t = node / 32
    values = torch.erf(torch.arange(129, dtype=torch.float64) / 32).float()[node.long()]
    slope, step = 2 / math.sqrt(math.pi) * torch.exp(-t * t), size - t
    terms = (slope, -t * slope, (2 * t * t - 1) * slope / 3, (3 * t - 2 * t**3) * slope / 6)
    rest = torch.zeros_like(size)
    for term in reversed(terms[:order]):
        rest = (rest + term) * step
    return torch.copysign(values + rest, wide).to(x.dtype)


_BURN = "https://github.com/tracel-ai/burn/issues/5373"

FAULTS = (
    Fault(
        "tanh by exp overflows", "tanh", lambda x: tanh_by_expm1(x, limit=math.inf), tanh_by_expm1,
        origin="https://github.com/BVLC/caffe/pull/1455", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "tanh clamp drops NaN", "tanh", lambda x: tanh_by_expm1(x, drops_nan=True), tanh_by_expm1,
        origin="OpenGL Shading Language 4.60, 4.7.1: a function of NaN need not return NaN", reveals="specials",
    ),
    Fault(
        "tanh by half exponentials", "tanh",
        lambda x: tanh_by_two_exponentials(x, narrow=torch.float16), tanh_by_two_exponentials,
        origin="tanh of a half shader as (e^x - e^-x) / (e^x + e^-x): exp overflows at 11.1", dtypes=("float16",),
    ),
    Fault(
        "tanh by fraction unclamped", "tanh", lambda x: tanh_by_fraction(x, guarded=False), tanh_by_fraction,
        origin="https://github.com/alejandro-isaza/BrainCore/pull/15", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "tanh by fraction clamped at 4", "tanh",
        lambda x: tanh_by_fraction(x, guarded=False, clamp=4.0), tanh_by_fraction,
        origin="a rational tanh whose argument is clamped to where the fit ends, not to where tanh is 1",
        reveals="activations",
    ),
    Fault(
        "sigmoid by positive exp", "sigmoid", lambda x: sigmoid(x, positive=True), sigmoid,
        origin="webdnn issue 558: exp(x) / (1 + exp(x)) is inf / inf", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "sigmoid by tanh", "sigmoid", sigmoid_by_tanh, sigmoid,
        origin="0.5 + 0.5 tanh(x / 2): the negative tail cancels", reveals="activations",
    ),
    Fault(
        "silu in half", "silu", lambda x: silu(x, narrow=x.dtype), silu,
        origin="activation computed in the storage dtype", dtypes=HALVES,
    ),
    Fault(
        "silu tail done twice", "silu", lambda x: silu_in_place(x, twice=True), silu_in_place,
        origin="a vector kernel in place whose last vector overlaps the one before", reveals="shapes",
    ),
    Fault(
        "softplus without threshold", "softplus", lambda *a: softplus(*a, at=math.inf), softplus,
        origin=_BURN, reveals="activations", dtypes=ALL,
    ),
    Fault(
        "softplus threshold 5", "softplus", lambda *a: softplus(*a, at=5.0), softplus,
        origin="the threshold lowered to spare exponentials", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "softplus clipped at 20", "softplus", lambda *a: softplus(*a, at=math.inf, clipped=20.0), softplus,
        origin="https://github.com/jaxleyverse/jaxley/pull/714", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "softplus by log", "softplus", lambda *a: softplus(*a, log1p=False), softplus,
        origin="log(1 + exp(x)) for log1p(exp(x)): small results cancel",
    ),
    Fault(
        "softplus of half powers", "softplus", softplus_with_half_powers, softplus,
        origin="https://github.com/sbryngelson/ANEForge/issues/113", reveals="activations", dtypes=("float16",),
    ),
    Fault(
        "exp by short constant", "exp", lambda x: exp_by_exp2(x, log2_e=1.44269), exp_by_exp2,
        origin="exp2(x * 1.44269): log2 e typed with six digits",
    ),
    Fault(
        "exp by unchecked bits", "exp", lambda x: exp_by_bits(x, low=-math.inf, high=math.inf), exp_by_bits,
        origin="https://github.com/ooples/AiDotNet.Tensors/pull/594", reveals="structure",
    ),
    Fault(
        "exp clamped below", "exp", lambda x: exp_by_bits(x, low=-87.3), exp_by_bits,
        origin="a vector exp that clamps its argument to what a normal number holds: exp of a mask is not zero",
        reveals="structure",
    ),
    Fault(
        "exp clamped above", "exp", lambda x: exp_by_bits(x, high=88.0), exp_by_bits,
        origin="a vector exp that clamps its argument to what a normal number holds: no infinity",
        reveals="specials",
    ),
    Fault(
        "erf by linear table", "erf", lambda x: erf_by_table(x, order=1), erf_by_table,
        origin="a lookup table with linear interpolation, made for 8 bits and used for float32",
    ),
)  # fmt: skip


def _numpy_tanh(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.tanh(x)


CONTROLS = (
    Control("tanh torch", "tanh", torch.tanh, dtypes=ALL),
    Control("tanh numpy", "tanh", _numpy_tanh, arrays="numpy"),
    Control("tanh by two exponentials", "tanh", tanh_by_two_exponentials, dtypes=ALL),
    Control("sigmoid torch", "sigmoid", torch.sigmoid, dtypes=ALL),
    Control("sigmoid in two branches", "sigmoid", sigmoid_in_two_branches, dtypes=ALL),
    Control("silu torch", "silu", F.silu, dtypes=ALL),
    Control("softplus torch", "softplus", F.softplus, dtypes=ALL),
    Control("softplus by maximum", "softplus", softplus_by_maximum, dtypes=ALL),
    Control("exp torch", "exp", torch.exp, dtypes=ALL),
    Control("exp numpy", "exp", np.exp, arrays="numpy"),
    Control("exp by exp2", "exp", exp_by_exp2, dtypes=ALL),
    Control("erf torch", "erf", torch.erf, dtypes=ALL),
)
