"""Attention: scores, softmax and the product with the values."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.masking import where
from tapml_fuzz.oracle.rules.matmul import product
from tapml_fuzz.oracle.rules.softmax import logsumexp, softmax
from tapml_fuzz.oracle.tracked import Tracked


def scores_of(query: Tracked, key: Tracked, mask: Tracked | None, causal: bool, scale: float | None) -> Tracked:
    """query key^T * scale, masked: additively, or by minus infinity where a boolean mask is false."""
    factor = 1 / math.sqrt(query.value.shape[-1]) if scale is None else scale
    scores = e.mul(product(query, movement.moved(torch.transpose, key, -2, -1)), factor)
    if causal:
        future = torch.ones(scores.value.shape[-2:], dtype=torch.bool).tril().logical_not()
        scores = _hidden(scores, future)
    if mask is None:
        return scores
    is_bool = mask.value.dtype == torch.bool
    return _hidden(scores, mask.value.logical_not()) if is_bool else e.add(scores, mask)


def attended(scores: Tracked, value: Tracked) -> Tracked:
    """softmax(scores) value (Vaswani et al. 2017).

    Fused kernels store the probabilities in the tensors' own dtype between the two products.
    """
    probabilities = softmax(scores, -1)
    hidden = scores.value == -torch.inf
    if not bool(hidden.any()):
        return product(e.store_intermediate(probabilities, value), value)
    # torch defines a row in which every score is -inf as zero, not NaN (`_safe_softmax`).
    dead = hidden.all(dim=-1, keepdim=True)
    zero = Tracked(torch.zeros((), dtype=torch.float64), scores.arithmetic, storage_dtype=scores.storage_dtype)
    probabilities = where(Tracked(dead, scores.arithmetic), zero, probabilities)
    result = product(e.store_intermediate(probabilities, value), value)
    # Zero times an infinite value is NaN, unless what is hidden is skipped; a score that overflows may not be -inf.
    unsure = (hidden.double() @ (~torch.isfinite(value.value)).double()) > 0
    if scores.error is not None:
        unsure = unsure | (dead & ~torch.isfinite(movement.dense_error(scores)).all(dim=-1, keepdim=True))
    return result.with_error(torch.where(unsure, torch.inf, movement.dense_error(result)))


def _hidden(scores: Tracked, where_hidden: Tensor) -> Tracked:
    low = Tracked(
        torch.full((), -torch.inf, dtype=torch.float64), scores.arithmetic, storage_dtype=scores.storage_dtype
    )
    return where(Tracked(where_hidden, scores.arithmetic), low, scores)


@rule("aten.scaled_dot_product_attention")
def scaled_dot_product_attention(
    query: Tracked,
    key: Tracked,
    value: Tracked,
    attn_mask: Tracked | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tracked:
    """softmax(query key^T * scale) value, masked; with `enable_gqa` several queries share keys and values."""
    if enable_gqa:
        copies = query.value.shape[-3] // key.value.shape[-3]
        key, value = (movement.moved(lambda t: t.repeat_interleave(copies, -3), k) for k in (key, value))
    return attended(scores_of(query, key, attn_mask, is_causal, scale), value)


@rule("aten._scaled_dot_product_flash_attention_for_cpu")
def flash_attention_for_cpu(
    query: Tracked,
    key: Tracked,
    value: Tracked,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tracked | None = None,
    scale: float | None = None,
) -> tuple[Tracked, Tracked]:
    """The output, and the logarithm of each row's sum of exponentials.

    That is float32 even for half precision tensors, whose exponentials need be no finer than what they are stored in:
    torch's own have 20 bits (`fexp_u20`), on processors without AVX-512 too.
    """
    scores = scores_of(query, key, attn_mask, is_causal, scale)
    return attended(scores, value), logsumexp(replace(scores, storage_dtype=query.storage_dtype), -1)
