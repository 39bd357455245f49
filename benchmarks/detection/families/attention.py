"""Scaled dot-product attention with an additive or boolean mask, whole and in blocks with online softmax."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, padding, recorded
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")


def _heads(batch: int, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (recorded(name, batch, layer) for name in "qkv")
    return q, k, v


def _padded() -> list[tuple[Tensor, ...]]:
    """As MiniLM calls it: padding is hidden by the lowest number."""
    return [(*_heads(batch, layer), padding(batch)) for batch in BATCHES for layer in LAYERS]


def _boolean() -> list[tuple[Tensor, ...]]:
    """The same with true where a key may be seen."""
    return [(q, k, v, mask == 0) for q, k, v, mask in _padded()]


def _aligned() -> list[tuple[Tensor, ...]]:
    """Lengths in eights, at most 16: one block of most kernels."""
    cuts = ((0, 8), (1, 16), (2, 8))
    return [
        (*(x[:, :, :length] for x in _heads(batch, 5)), padding(batch)[..., :length, :length]) for batch, length in cuts
    ]


SDPA = "aten.scaled_dot_product_attention.default"
SUBJECTS = (
    Subject("attention", "attention", SDPA, _padded),
    Subject("attention boolean", "attention", SDPA, _boolean),
    Subject("attention aligned", "attention", SDPA, _aligned),
)


def scale_of(width: int) -> float:
    return 1 / math.sqrt(width) if width else 1.0


def whole(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    scale: float | None = None,
    after: bool = False,
    rows_differ: bool = True,
    scores_in: torch.dtype = torch.float32,
) -> Tensor:
    """All scores at once; a row that sees nothing is zero. `after` adds the mask to the probabilities."""
    scale = scale_of(q.shape[-1]) if scale is None else scale
    mask = mask.float() if rows_differ else mask[..., :1, :].float()
    scores = (q.float() @ k.float().transpose(-2, -1)).to(scores_in).float() * scale
    probabilities = _softmax(scores) + mask if after else _softmax(scores + mask)
    return (probabilities @ v.float()).to(q.dtype)


def _softmax(scores: Tensor) -> Tensor:
    blind = (scores == -math.inf).all(-1, keepdim=True)
    return torch.softmax(scores, -1).masked_fill(blind, 0.0)


def hidden(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, blind_to_zero: bool = True) -> Tensor:
    """A boolean mask; a row that sees nothing is zero."""
    scores = q.float() @ k.float().transpose(-2, -1) * scale_of(q.shape[-1])
    scores = scores.masked_fill(~mask, -math.inf)
    probabilities = _softmax(scores) if blind_to_zero else torch.softmax(scores, -1)
    return (probabilities @ v.float()).to(q.dtype)


def flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    block: int = 16,
    rescales: bool = True,
    hides_tail: bool = True,
    first_peak: float = -math.inf,
    base: float = math.e,
    scale: float | None = None,
) -> Tensor:
    """Blocks of keys, padded by zeros to `block`, with online softmax (Dao et al. 2022).

    `base` 2 computes exponentials as exp2 of scores times log2 e, mask included.
    """
    length, scale = k.shape[-2], scale_of(q.shape[-1]) if scale is None else scale
    while length > 256 * block:  # long sequences go in larger blocks
        block *= 2
    missing = -length % block
    keys, values = (torch.nn.functional.pad(x.float(), (0, 0, 0, missing)) for x in (k, v))
    bias = torch.nn.functional.pad(mask.float(), (0, missing))
    unit = math.log2(math.e) if base == 2 else 1.0
    power = torch.exp2 if base == 2 else torch.exp
    peak = torch.full((*q.shape[:-1], 1), first_peak)
    total = torch.zeros_like(peak)
    out = torch.zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, length, block):
        part = slice(start, start + block)
        scores = (q.float() @ keys[..., part, :].transpose(-2, -1) * scale + bias[..., part]) * unit
        if hides_tail:
            scores = scores.masked_fill(torch.arange(start, start + block) >= length, -math.inf)
        new = torch.maximum(peak, scores.amax(-1, keepdim=True))
        finite = new.masked_fill(new == -math.inf, 0.0)
        powers, factor = power(scores - finite), power(peak - finite)
        total = total * factor + powers.sum(-1, keepdim=True)
        out = (out * factor if rescales else out) + powers @ values[..., part, :]
        peak = new
    blind = (total == 0) & (peak == -math.inf)
    return (out / total).masked_fill(blind, 0.0).to(q.dtype)


def padded_width(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The scale is taken from the head width that tiles are padded to."""
    return whole(q, k, v, mask, scale=scale_of(-(-q.shape[-1] // 16) * 16))


def half_mask(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The mask is converted to float16, where the lowest float32 is minus infinity."""
    return whole(q, k, v, mask.half())


def first_sentence_mask(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return whole(q, k, v, mask[:1])


def seen(function: Any, **options: Any) -> Any:
    """`function` with keywords set."""
    return lambda *args: function(*args, **options)


FAULTS = (
    Fault(
        "attention scales by 1/d", "attention", lambda q, *a: whole(q, *a, scale=1 / max(q.shape[-1], 1)), whole,
        origin="the square root is forgotten", dtypes=HALVES,
    ),
    Fault(
        "attention scales queries and scores", "attention", lambda q, *a: whole(q * scale_of(q.shape[-1]), *a), whole,
        origin="queries scaled at projection are scaled again by the kernel",
    ),
    Fault(
        "attention scale of a padded width", "attention aligned", padded_width, whole,
        origin="1/sqrt(d) is taken of the padded head width", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "attention mask after softmax", "attention", seen(whole, after=True), whole,
        origin="mask and softmax in the wrong order",
    ),
    Fault(
        "attention mask of the first sentence", "attention", first_sentence_mask, whole,
        origin="a mask is broadcast over the batch",
    ),
    Fault(
        "attention mask of the first query", "attention", seen(whole, rows_differ=False), whole,
        origin="a padding mask's shape is assumed: one row for all queries", reveals="structure", dtypes=HALVES,
    ),
    Fault(
        "attention mask in float16", "attention", half_mask, whole,
        origin="https://github.com/pytorch/benchmark/pull/794", reveals="structure",
    ),
    Fault(
        "attention scores in float16", "attention", seen(whole, scores_in=torch.float16), whole,
        origin="scores have the dtype of the matrix unit's output",
    ),
    Fault(
        "attention scores overflow float16", "attention", seen(whole, scores_in=torch.float16), whole,
        origin="scores are stored before they are scaled", dtypes=("bfloat16",), reveals="activations",
    ),
    Fault(
        "attention NaN where nothing is seen", "attention boolean", seen(hidden, blind_to_zero=False), hidden,
        origin="https://github.com/tracel-ai/burn/pull/4697", reveals="structure", dtypes=HALVES,
    ),
    Fault(
        "attention mask times log2 e", "attention", seen(flash, base=2), flash,
        origin="exp2 for exp: the lowest number times log2 e is minus infinity", reveals="structure",
    ),
    Fault(
        "attention online without rescaling", "attention aligned", seen(flash, rescales=False), flash,
        origin="online softmax: the sum is rescaled, the accumulated values are not", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "attention counts keys of zeros", "attention aligned", seen(flash, block=8, hides_tail=False),
        seen(flash, block=8), origin="https://github.com/flashinfer-ai/flashinfer/pull/5090", reveals="shapes",
        dtypes=HALVES,
    ),
    Fault(
        "attention running maximum from zero", "attention aligned", seen(flash, first_peak=0.0), flash,
        origin="the running maximum starts from zero: rows of very negative scores vanish", reveals="activations",
    ),
)  # fmt: skip

CONTROLS = (
    Control("attention whole", "attention", whole, dtypes=HALVES),
    Control("attention in blocks of 16", "attention", flash, dtypes=HALVES),
    Control("attention in blocks of 64", "attention", seen(flash, block=64), dtypes=HALVES),
    Control(
        "attention of torch in half precision",
        "attention",
        torch.nn.functional.scaled_dot_product_attention,
        dtypes=("float16", "bfloat16"),
    ),
)
