"""Sorts of the last axis with their indices: merge, bitonic, radix. In which order equals come is free."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.families.selection import ALL, Pair, keys, numeric_keys, ranked
from benchmarks.detection.model import Control, Fault, Subject

HIGHEST = 2**40


def _logits() -> list[tuple[Tensor, int, bool]]:
    return [(logits[:9, : 300 + 40 * number], -1, False) for number, logits in enumerate(every("logits"))]


def _sampled() -> list[tuple[Tensor, int, bool]]:
    """Logits in descending order, for top-p sampling."""
    return [(logits[:9, : 512 + 64 * number], -1, True) for number, logits in enumerate(every("logits"))]


SUBJECTS = (
    Subject("sort", "selection", "aten.sort.default", _logits, moves=True),
    Subject("sort descending", "selection", "aten.sort.default", _sampled, moves=True),
)

Keys = Callable[[Tensor], Tensor]


def _picked(x: Tensor, index: Tensor) -> Pair:
    return x.gather(-1, index), index


def merge(x: Tensor, dim: int, descending: bool, *, key: Keys = keys) -> Pair:
    return _picked(x, ranked(key(x), descending))


def bitonic(x: Tensor, dim: int, descending: bool, *, pad: int = HIGHEST, key: Keys = keys, lanes: int = 0) -> Pair:
    """Batcher's network on the next power of two, which places that hold `pad` fill up (negated when descending).

    What is found at a padded place beyond the row is clamped into it. `lanes` ends the network at that many.
    """
    width = x.shape[-1]
    if width < 2:
        return _picked(x, torch.zeros(x.shape, dtype=torch.int64))
    size = 1 << (width - 1).bit_length()
    sign = -1 if descending else 1
    order = F.pad(sign * key(x), (0, size - width), value=pad)
    index = torch.arange(size).expand(order.shape)
    place = torch.arange(size)
    span = 2
    while span <= min(size, lanes or size):
        distance = span // 2
        while distance:
            partner = place ^ distance
            mine, other = order, order[..., partner]
            rising = (place & span) == 0
            lower = (place & distance) == 0
            swap = torch.where(rising == lower, mine > other, mine < other)
            order = torch.where(swap, other, mine)
            index = torch.where(swap, index[..., partner], index)
            distance //= 2
        span *= 2
    return _picked(x, index[..., :width].clamp_max(width - 1))


def radix(x: Tensor, dim: int, descending: bool, *, passes: int = 4, flipped: bool = True) -> Pair:
    """Eight bits a pass from the least significant on; fewer than four `passes` leave the least ones out.

    `flipped`: the bits of negative numbers are inverted, so that they are in order.
    """
    order = keys(x)
    order = order + 2**31 if flipped else torch.where(order < 0, 2**31 - order, order) ^ 2**31
    index = torch.arange(x.shape[-1]).expand(x.shape)
    for number in range(4 - passes, 4):
        digit = (order >> 8 * number & 255).gather(-1, index)
        index = index.gather(-1, ranked(digit, descending))
    return _picked(x, index)


def bits_alone(x: Tensor) -> Tensor:
    """The order of the bits, where a NaN with its sign set comes first."""
    bits = x.float().view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _fault(
    name: str, subject: str, faulty: Callable[..., Pair], correct: Callable[..., Pair], **about: object
) -> Fault:
    return Fault(name, subject, faulty, correct, dtypes=ALL, **about)  # type: ignore[arg-type]


FAULTS = (
    _fault(
        "sort bitonic padded with zeros", "sort", partial(bitonic, pad=0), bitonic,
        origin="https://github.com/microsoft/DirectX-Graphics-Samples/issues/235", reveals="anything",
    ),
    _fault(
        "sort bitonic of at most 1024", "sort", partial(bitonic, lanes=1024), bitonic,
        origin="https://github.com/ServeurpersoCom/qwentts.cpp/issues/33", reveals="shapes",
    ),
    _fault(
        "sort puts NaN first", "sort", partial(merge, key=numeric_keys), merge,
        origin="https://github.com/PaddlePaddle/Paddle/pull/41070", reveals="specials",
    ),
    _fault(
        "sort by bits", "sort", partial(merge, key=bits_alone), merge,
        origin="IEEE 754-2019, section 5.10: in total order a NaN with its sign set comes first", reveals="specials",
    ),
    _fault(
        "sort radix of three passes", "sort descending", partial(radix, passes=3), radix,
        origin="a radix sort cut to 24 bits of the key", reveals="activations",
    ),
    _fault(
        "sort radix of negative numbers", "sort", partial(radix, flipped=False), radix,
        origin="a radix sort that flips the sign bit alone", reveals="anything",
    ),
    _fault(
        "sort ascending", "sort descending", lambda x, dim, descending: merge(x, dim, False), merge,
        origin="the flag is lost", reveals="anything",
    ),
)  # fmt: skip

CONTROLS = (
    Control("sort bitonic", "sort descending", bitonic, dtypes=ALL),
    Control("sort radix", "sort", radix, dtypes=ALL),
)
