"""Activations."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.elementwise import clamp, maximum, scaled
from tapml_fuzz.oracle.rules.masking import where
from tapml_fuzz.oracle.tracked import Tracked


@rule("aten.gelu")
def gelu(x: Tracked, approximate: str = "none") -> Tracked:
    """x/2 (1 + erf(x/sqrt 2)), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016)."""
    half = e.mul(x, 0.5)
    if approximate == "none":
        tail = e.add(f.erf(e.mul(x, math.sqrt(0.5)), builtin="erf_of_gelu"), 1.0)
        return _open_at_minus_infinity(x, e.mul(half, tail))
    inner = e.add(x, e.mul(e.mul(e.square(x), x), 0.044715))
    tail = e.add(f.tanh(e.mul(inner, math.sqrt(2 / math.pi))), 1.0)
    return _open_at_minus_infinity(x, e.mul(half, tail))


def _open_at_minus_infinity(x: Tracked, y: Tracked) -> Tracked:
    """At -inf the formula says inf * 0, NaN, and the limit says 0: both are right, so it is unjudged."""
    pole = x.value == -torch.inf
    return y.with_error(torch.where(pole, torch.inf, movement.dense_error(y))) if bool(pole.any()) else y


@rule("aten.silu")
def silu(x: Tracked) -> Tracked:
    """x * sigmoid(x), the sigmoid a step of its own."""
    return _open_at_minus_infinity(x, e.mul(x, f.sigmoid(x)))


@rule("aten.softplus")
def softplus(x: Tracked, beta: float = 1, threshold: float = 20) -> Tracked:
    """log(1 + exp(beta x)) / beta, x itself beyond the threshold."""
    scale = scaled(x, beta)
    assert isinstance(scale, Tracked)
    linear = scale.value > threshold
    bounded = replace(scale, value=scale.value.clamp(max=threshold), overflows=False)
    curve = f.log(f.exp(bounded), builtin="log1p")
    curve = curve if beta == 1 else e.div(curve, beta)
    # At the threshold itself rounding decides the branch; the two differ by exp(-threshold) there.
    chosen = where(Tracked(linear, x.arithmetic), x, curve)
    gap = math.exp(-threshold) / beta
    near = (scale.value - threshold).abs() <= 1e-5 * abs(threshold)
    return chosen.with_error(torch.where(near, movement.dense_error(chosen) + gap, movement.dense_error(chosen)))


@rule("aten.relu")
def relu(x: Tracked) -> Tracked:
    """max(x, 0)."""
    return maximum(x, 0)


@rule("aten.leaky_relu")
def leaky_relu(x: Tracked, negative_slope: float = 0.01) -> Tracked:
    """x where it is positive, else x times the slope."""
    return where(Tracked(x.value > 0, x.arithmetic), x, e.mul(x, negative_slope))


@rule("aten.elu")
def elu(x: Tracked, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tracked:
    """The line where x is positive, else alpha * (exp(x) - 1), each scaled."""
    curve = scaled(f.expm1(scaled(replace(x, value=x.value.clamp(max=0.0)), input_scale)), alpha * scale)
    assert isinstance(curve, Tracked)
    line = scaled(x, scale)
    assert isinstance(line, Tracked)
    return where(Tracked(x.value > 0, x.arithmetic), line, curve)


@rule("aten.hardtanh")
def hardtanh(x: Tracked, min_val: float = -1, max_val: float = 1) -> Tracked:
    """x held between two limits."""
    return clamp(x, min_val, max_val)
