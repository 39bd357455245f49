"""What is done to logits before a token is drawn: penalty, temperature, top-k, top-p, and the greedy choice.

Decisions are made on inputs wherever the method allows it. Where rounding decides, as at top-p's threshold, the
oracle accepts both answers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")
_PENALTY, _TEMPERATURE, _TOP_K, _TOP_P = 1.25, 0.7, 8, 0.9


def penalised(logits: Tensor, seen: Tensor) -> Tensor:
    """Repetition penalty: tokens seen before become less likely, whatever their logit's sign (Keskar et al. 2019)."""
    return torch.where(seen, torch.where(logits > 0, logits / _PENALTY, logits * _PENALTY), logits)


def top_k(logits: Tensor) -> Tensor:
    """Logits below the eighth largest are minus infinity; what equals it stays. Then temperature."""
    if logits.shape[-1] < _TOP_K:
        raise ValueError("fewer tokens than top-k keeps")
    least = torch.sort(logits, dim=-1, descending=True, stable=True).values[:, _TOP_K - 1 : _TOP_K]
    return (logits / _TEMPERATURE).masked_fill(logits < least, -math.inf)


def top_p(logits: Tensor) -> Tensor:
    """Temperature, then the fewest most likely tokens of 0.9 together, the one that crosses included; others -inf."""
    ordered, order = torch.sort(logits.float() / _TEMPERATURE, dim=-1, descending=True, stable=True)
    probabilities = torch.softmax(ordered, -1)
    before = torch.cumsum(probabilities, -1) - probabilities
    kept = ordered.masked_fill(before >= _TOP_P, -math.inf)
    return kept.gather(-1, torch.argsort(order, dim=-1)).to(logits.dtype)


def _logits() -> list[tuple[Tensor]]:
    """Rows of a tied language head over parts of the vocabulary."""
    cuts = ((6, 1023), (8, 500), (4, 777))
    return [(logits[:rows, :tokens],) for logits, (rows, tokens) in zip(every("logits"), cuts, strict=True)]


def _history() -> list[tuple[Tensor, Tensor]]:
    """With every token that a longer text would have used: the likely ones."""
    return [(logits, logits > logits.quantile(0.97)) for (logits,) in _logits()]


def _greedy() -> list[tuple[Tensor, int, bool]]:
    return [(logits, -1, False) for (logits,) in _logits()]


SUBJECTS = (
    Subject("repetition penalty", "sampling", penalised, _history),
    Subject("top-k", "sampling", top_k, _logits, axes=(("b", "v"),)),
    Subject("top-p", "sampling", top_p, _logits, axes=(("b", "v"),)),
    Subject("argmax", "sampling", "aten.argmax.default", _greedy),
)


def penalty(logits: Tensor, seen: Tensor, *, by_sign: bool = True) -> Tensor:
    """`by_sign` multiplies negative logits; otherwise all are divided."""
    wide = logits.float()
    lowered = torch.where(wide > 0, wide / _PENALTY, wide * _PENALTY) if by_sign else wide / _PENALTY
    return torch.where(seen, lowered.to(logits.dtype), logits)


def largest(logits: Tensor, *, kept: int = _TOP_K, ties: bool = True, hidden: float = -math.inf) -> Tensor:
    """`kept` tokens, with `ties` those equal to the last as well; the rest are `hidden`."""
    ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    drop = logits < ordered[:, kept - 1 : kept]
    if not ties:
        drop = torch.argsort(order, dim=-1) >= kept
    return (logits.float() / _TEMPERATURE).masked_fill(drop, hidden).to(logits.dtype)


def nucleus(
    logits: Tensor,
    *,
    includes_crossing: bool = True,
    keeps_first: bool = True,
    masses_in: torch.dtype = torch.float32,
    cools_first: bool = True,
) -> Tensor:
    """The keywords: the token that crosses stays, so does the first of all; where masses add up; temperature first."""
    wide = logits.float() / _TEMPERATURE
    ordered, order = torch.sort(wide, dim=-1, descending=True, stable=True)
    judged = ordered if cools_first else ordered * _TEMPERATURE
    masses = _running(torch.softmax(judged, -1).to(masses_in)).float()
    if includes_crossing:
        masses = torch.cat([torch.zeros_like(masses[:, :1]), masses[:, :-1]], -1)
    drop = masses >= _TOP_P
    if keeps_first:
        drop[:, :1] = False
    kept = ordered.masked_fill(drop, -math.inf)
    return kept.gather(-1, torch.argsort(order, dim=-1)).to(logits.dtype)


def _running(masses: Tensor) -> Tensor:
    """Partial sums, each stored in the dtype of `masses`."""
    if masses.dtype == torch.float32:
        return masses.cumsum(-1)
    total, sums = torch.zeros_like(masses[:, 0]) if masses.shape[1] else masses.sum(1), []
    for column in masses.unbind(1):
        total = total + column
        sums.append(total)
    return torch.stack(sums, 1) if sums else masses


def greedy(
    logits: Tensor,
    dim: int,
    keepdim: bool,
    *,
    block: int = 256,
    start: float = -math.inf,
    tail: bool = True,
    sees_nan: bool = True,
) -> Tensor:
    """The best of each block, then of the blocks; `start` is what the first block has to beat."""
    wide = logits.float()
    best = torch.full(wide.shape[:1], start)
    place = torch.zeros(wide.shape[:1], dtype=torch.int64)
    whole = wide.shape[1] if tail else max(wide.shape[1] // block * block, 1)
    for first in range(0, whole, block):
        part = wide[:, first : min(first + block, whole)]
        if not sees_nan:
            part = part.nan_to_num(-math.inf, math.inf, -math.inf)
        value, index = part.max(-1)
        better = (value > best) | (torch.isnan(value) & ~torch.isnan(best))
        best, place = torch.where(better, value, best), torch.where(better, index + first, place)
    return place


FAULTS = (
    Fault(
        "penalty divides negative logits", "repetition penalty", lambda *a: penalty(*a, by_sign=False), penalty,
        origin="https://github.com/huggingface/transformers/issues/2302", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "top-k keeps one more", "top-k", lambda x: largest(x, kept=min(_TOP_K + 1, x.shape[1])), largest,
        origin="the threshold is the value after the k-th", dtypes=HALVES,
    ),
    Fault(
        "top-k drops ties", "top-k", lambda x: largest(x, ties=False), largest,
        origin="https://github.com/sgl-project/sglang/pull/33539", reveals="structure",
    ),
    Fault(
        "top-k hides by -1e4", "top-k", lambda x: largest(x, hidden=-1e4), largest,
        origin="a large negative number for minus infinity", dtypes=HALVES,
    ),
    Fault(
        "top-p drops the token that crosses", "top-p", lambda x: nucleus(x, includes_crossing=False), nucleus,
        origin="https://github.com/fishaudio/fish-speech/pull/1171", dtypes=HALVES,
    ),
    Fault(
        "top-p keeps no token",  "top-p", lambda x: nucleus(x, includes_crossing=False, keeps_first=False),
        lambda x: nucleus(x), origin="https://github.com/ml-explore/mlx-lm/pull/1912",
    ),
    Fault(
        "top-p masses in float16", "top-p", lambda x: nucleus(x, masses_in=torch.float16), nucleus,
        origin="the cumulative sum has the logits' dtype",
    ),
    Fault(
        "top-p masses in bfloat16", "top-p", lambda x: nucleus(x, masses_in=torch.bfloat16), nucleus,
        origin="the cumulative sum has the logits' dtype: small masses are lost", dtypes=HALVES,
    ),
    Fault(
        "top-p before temperature", "top-p", lambda x: nucleus(x, cools_first=False), nucleus,
        origin="temperature is applied after filtering", dtypes=HALVES,
    ),
    Fault(
        "argmax starts from zero", "argmax", lambda *a: greedy(*a, start=0.0), greedy,
        origin="the running maximum starts from zero", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "argmax without a tail", "argmax", lambda *a: greedy(*a, tail=False), greedy,
        origin="the last partial block of the vocabulary is not looked at", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "argmax skips NaN", "argmax", lambda *a: greedy(*a, sees_nan=False), greedy,
        origin="https://github.com/ml-explore/mlx/issues/4274", reveals="specials", dtypes=HALVES,
    ),
)  # fmt: skip


def last_best(logits: Tensor, dim: int, keepdim: bool) -> Tensor:
    """Of equal logits the last, which is as good."""
    return logits.shape[1] - 1 - logits.flip(1).argmax(dim, keepdim)


CONTROLS = (
    Control("top-p masses in float64", "top-p", lambda x: nucleus(x, masses_in=torch.float64), dtypes=HALVES),
    Control("argmax of the last best", "argmax", last_best, dtypes=HALVES),
)  # fmt: skip
