"""Rotary position embedding (Su et al. 2021): half-rotated and interleaved, by tables, a cache, or positions."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, LAYERS, every, recorded
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")
_CACHED = 64


def rotate_half(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Element i is paired with i + d/2; tables are as wide as x."""
    a, b = halves(x)
    return x * cos + torch.cat([-b, a], -1) * sin


def rotate_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Element 2i is paired with 2i + 1."""
    halves(x)
    partner = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * cos + partner * sin


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Raises `ValueError` for an odd width."""
    if x.shape[-1] % 2:
        raise ValueError("an odd width")
    middle = x.shape[-1] // 2
    return x[..., :middle], x[..., middle:]


def rotate_cached(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor) -> Tensor:
    """The tables' rows at the given positions, [b, s] of them for x of [b, h, s, d]."""
    return rotate_half(x, cos[positions][:, None], sin[positions][:, None])


def rotate_at(x: Tensor, positions: Tensor) -> Tensor:
    """Angles from positions, in float32 whatever x is (as transformers does since 2024)."""
    width = x.shape[-1]
    rates = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = positions[:, None, :, None].to(torch.float32) * rates
    angles = torch.cat([angles, angles], -1)
    return rotate_half(x.to(torch.float32), torch.cos(angles), torch.sin(angles)).to(x.dtype)


def _tables(length: int, width: int, *, interleaved: bool = False) -> tuple[Tensor, Tensor]:
    rates = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    rates = rates.repeat_interleave(2) if interleaved else rates.repeat(2)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return angles.cos().float(), angles.sin().float()


def _tabled(interleaved: bool = False) -> list[tuple[Tensor, ...]]:
    return [(q, *_tables(q.shape[-2], q.shape[-1], interleaved=interleaved)) for q in every("q")]


def _prefilled() -> list[tuple[Tensor, ...]]:
    """Every sentence from its start."""
    return [
        (k[:, :2], *_tables(_CACHED, k.shape[-1]), torch.arange(k.shape[2]).expand(k.shape[0], -1).clone())
        for k in every("k")
    ]


def _continued() -> list[tuple[Tensor, Tensor]]:
    """Prefill, and chunks that continue conversations: position ids of 0 to about 1500."""
    starts = (0, 0, 41, 190, 730, 1500)
    calls = [recorded("q", batch, layer) for batch in BATCHES for layer in LAYERS]
    return [
        (q[:, :2], (torch.arange(q.shape[2]) + start).expand(q.shape[0], -1).clone())
        for q, start in zip(calls, starts, strict=True)
    ]


# Widths are even, so free sizes would be found in steps of two; with named axes all are tried and odd ones refused.
_X = ("b", "h", "s", "d")
SUBJECTS = (
    Subject("rope", "rope", rotate_half, _tabled, axes=(_X, ("s", "d"), ("s", "d"))),
    Subject("rope interleaved", "rope", rotate_interleaved, lambda: _tabled(True), axes=(_X, ("s", "d"), ("s", "d"))),
    Subject("rope cached", "rope", rotate_cached, _prefilled, axes=(_X, ("p", "d"), ("p", "d"), ("b", "s"))),
    Subject("rope at positions", "rope", rotate_at, _continued, axes=(_X, ("b", "s"))),
)


def pairs(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool = False) -> Tensor:
    """In float32, rounded once."""
    rotate = rotate_interleaved if interleaved else rotate_half
    return rotate(x.float(), cos.float(), sin.float()).to(x.dtype)


def interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return pairs(x, cos, sin, interleaved=True)


def in_place(x: Tensor, cos: Tensor, sin: Tensor, *, saved: bool = True) -> Tensor:
    """The first of a pair is overwritten before the second is computed, from a `saved` copy or what is there now."""
    (a, b), (cos_a, cos_b), (sin_a, sin_b) = halves(x.float()), halves(cos.float()), halves(sin.float())
    first = a * cos_a - b * sin_a
    second = b * cos_b + (a if saved else first) * sin_b
    return torch.cat([first, second], -1).to(x.dtype)


def by_groups(x: Tensor, cos: Tensor, sin: Tensor, *, launched: int | None = None) -> Tensor:
    """A work-item a pair; those beyond `launched` stay as they were."""
    out = pairs(x, cos, sin)
    if launched is not None:
        (kept, other), (old, others) = halves(out), halves(x)
        kept[..., launched:], other[..., launched:] = old[..., launched:], others[..., launched:]
    return out


def vectors(x: Tensor, cos: Tensor, sin: Tensor, *, tail: bool = True) -> Tensor:
    """Two pairs at a time; without its `tail` an odd pair at the end stays as it was."""
    out = interleaved(x, cos, sin)
    whole = x.shape[-1] // 4 * 4
    if not tail:
        out[..., whole:] = x[..., whole:]
    return out


def packed(x: Tensor) -> Tensor:
    """The memory of x read as if it lay in the order of its axes."""
    return torch.as_strided(x, x.shape, torch.empty(x.shape, device="meta").stride())


def looked_up(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, *, offset: int = 0) -> Tensor:
    """Rows of the cached tables; with an `offset` the last row is taken twice."""
    rows = (positions + offset).clamp(max=len(cos) - 1)
    return pairs(x, cos[rows][:, None], sin[rows][:, None])


def counted(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, *, start_only: bool = True) -> Tensor:
    """Positions counted up from the first one of each sentence, not looked at one by one."""
    if start_only:
        positions = (positions[:, :1] + torch.arange(positions.shape[1])).clamp(max=max(len(cos) - 1, 0))
    return looked_up(x, cos, sin, positions)


def at(x: Tensor, positions: Tensor, *, ids_in: torch.dtype = torch.float32, power: float = 1.0) -> Tensor:
    """Angles from positions held in `ids_in`; rates are base^(-power 2i/d)."""
    width = x.shape[-1]
    rates = 10000.0 ** -(power * torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = positions[:, None, :, None].to(ids_in).float() * rates
    angles = torch.cat([angles, angles], -1)
    return pairs(x, angles.cos(), angles.sin())


def rounded_tables(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return pairs(x, cos.bfloat16(), sin.bfloat16())


FAULTS = (
    Fault(
        "rope turns the other way", "rope", lambda x, cos, sin: pairs(x, cos, -sin), pairs,
        origin="the sign of rotate_half is on the wrong half", dtypes=HALVES,
    ),
    Fault(
        "rope interleaved for halves", "rope", interleaved, pairs,
        origin="https://github.com/tenstorrent/tt-metal/issues/26844", dtypes=HALVES,
    ),
    Fault(
        "rope in place without a copy", "rope", lambda *a: in_place(*a, saved=False), in_place,
        origin="x[i] is overwritten before x[i + d/2] reads it", dtypes=HALVES,
    ),
    Fault(
        "rope tables in bfloat16", "rope", rounded_tables, pairs,
        origin="https://github.com/KellerJordan/modded-nanogpt/issues/39",
    ),
    Fault(
        "rope of 32 pairs at most", "rope", lambda *a: by_groups(*a, launched=32), by_groups,
        origin="one work-item a pair in groups of 32, and one group a head", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "rope ignores strides", "rope", lambda x, cos, sin: pairs(packed(x), cos, sin), pairs,
        origin="queries are a transposed view of the projection, read as packed", reveals="layout",
    ),
    Fault(
        "rope leaves an odd pair", "rope interleaved", lambda *a: vectors(*a, tail=False), vectors,
        origin="vectors of four without a scalar tail", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "rope positions from one", "rope cached", lambda *a: looked_up(*a, offset=1), looked_up,
        origin="the position is counted after the cache was appended to",
    ),
    Fault(
        "rope counts positions up", "rope cached", counted, lambda *a: counted(*a, start_only=False),
        origin="position ids are taken to be consecutive (left padding, packed sentences)", reveals="structure",
        dtypes=HALVES,
    ),
    Fault(
        "rope positions in bfloat16", "rope at positions", lambda *a: at(*a, ids_in=torch.bfloat16), at,
        origin="https://github.com/huggingface/candle/pull/3520", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "rope positions in float16", "rope at positions", lambda *a: at(*a, ids_in=torch.float16), at,
        origin="https://github.com/EleutherAI/gpt-neox/issues/1003", reveals="activations",
    ),
    Fault(
        "rope rates of i for 2i", "rope at positions", lambda *a: at(*a, power=0.5), at,
        origin="the pair's number for the element's in base^(-2i/d)",
    ),
)  # fmt: skip


CONTROLS = (
    Control("rope fused", "rope", lambda x, cos, sin: rotate_half(x.double(), cos.double(), sin.double()).to(x.dtype),
            dtypes=HALVES),
    Control("rope of torch in half precision", "rope", rotate_half, dtypes=("float16", "bfloat16")),
    Control("rope pair by pair", "rope", in_place, dtypes=HALVES),
)  # fmt: skip
