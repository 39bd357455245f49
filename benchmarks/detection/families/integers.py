"""Integer arithmetic: division, remainder, shifts, products, absolute values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

_LENGTHS = (64, 50, 37)


def _distances(length: int) -> Tensor:
    """Relative positions [length, length], int32."""
    position = torch.arange(length, dtype=torch.int32)
    return position - position[:, None]


def _distances_and_sizes() -> list[tuple[Tensor, Tensor]]:
    """Relative positions and bucket sizes of either sign, never -1 (whose quotient of the lowest number traps)."""
    sizes = [torch.arange(2, n + 2, dtype=torch.int32) for n in _LENGTHS]
    signs = [torch.where(s % 7 == 3, -1, 1).int() for s in sizes]
    return [(_distances(n), s * sign) for n, s, sign in zip(_LENGTHS, sizes, signs, strict=True)]


def _distances_and_powers() -> list[tuple[Tensor, Tensor]]:
    """Relative positions and ring sizes that are powers of two."""
    return [(_distances(n), 1 << (torch.arange(n, dtype=torch.int32) % 6)) for n in _LENGTHS]


def _ids_and_primes() -> list[tuple[Tensor, Tensor]]:
    """Token ids [b, s, 1] and odd multipliers of a hash [64]."""
    primes = 2654435761 + 2 * torch.arange(64) * 7919
    return [(recorded("ids", batch)[..., None], primes) for batch in BATCHES]


def _rows_and_columns() -> list[tuple[Tensor, Tensor]]:
    """Rows of an embedding table [s, 1] and columns [c], for offsets into it."""
    return [(recorded("ids", b).reshape(-1, 1), torch.arange(c)) for b, c in zip(BATCHES, (96, 80, 64), strict=True)]


def _packed_and_shifts() -> list[tuple[Tensor, Tensor]]:
    """Eight nibbles in an int32 of either sign, and where each begins."""
    words = [weight("embedding")[n : n + 9, :w].contiguous() for n, w in ((0, 128), (40, 96), (90, 64))]
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    return [(w.reshape(-1, 1).view(torch.int32), shifts) for w in words]


def _nibbles_and_shifts() -> list[tuple[Tensor, Tensor]]:
    return [((words >> 5) & 15, shifts) for words, shifts in _packed_and_shifts()]


def _quantised() -> list[tuple[Tensor, Tensor]]:
    """Two branches as int8, of which some sums leave the range."""
    a, b = every("q"), every("k")
    return [
        ((q * 28).round().char().flatten(0, 2), (k * 28).round().char().flatten(0, 2))
        for q, k in zip(a, b, strict=True)
    ]


def _distances_alone() -> list[tuple[Tensor]]:
    return [(_distances(n),) for n in _LENGTHS]


def offsets(rows: Tensor, columns: Tensor) -> Tensor:
    return rows * 384 + columns


SUBJECTS = (
    Subject("integer floor division", "integers", "aten.floor_divide.default", _distances_and_sizes),
    Subject("integer remainder", "integers", "aten.remainder.Tensor", _distances_and_sizes),
    Subject("ring index", "integers", "aten.remainder.Tensor", _distances_and_powers),
    Subject("hash", "integers", "aten.mul.Tensor", _ids_and_primes),
    Subject("flat offsets", "integers", offsets, _rows_and_columns),
    Subject("right shift", "integers", "aten.bitwise_right_shift.Tensor", _packed_and_shifts),
    Subject("left shift", "integers", "aten.bitwise_left_shift.Tensor", _nibbles_and_shifts),
    Subject("int8 add", "integers", "aten.add.Tensor", _quantised),
    Subject("int32 absolute", "integers", "aten.abs.default", _distances_alone),
)


def floor_division(x: Tensor, y: Tensor, *, floored: bool = True) -> Tensor:
    """Truncated division, mended where it leaves a rest and the signs differ."""
    quotient = torch.div(x, y, rounding_mode="trunc")
    rest = x - quotient * y
    return quotient - ((rest != 0) & ((rest < 0) != (y < 0))).int() if floored else quotient


def division_by_reciprocal(x: Tensor, y: Tensor, *, corrected: bool = True) -> Tensor:
    """floor(x * (1 / y)) in float32, mended by the rest in 64 bits."""
    guess = torch.floor(x.float() * (1 / y.float())).to(torch.int64)
    if corrected:
        wide, divisor = x.long(), y.long()
        for _ in range(2):  # the first mends the guess of large numbers, the second what is off by one
            guess = guess + floor_division(wide - guess * divisor, divisor)
    return guess.to(x.dtype)


def remainder(x: Tensor, y: Tensor, *, floored: bool = True) -> Tensor:
    rest = torch.fmod(x, y)
    return torch.where(floored & (rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def remainder_by_mask(x: Tensor, y: Tensor, *, checked: bool = True) -> Tensor:
    """x & (y - 1); `checked`: only for powers of two."""
    masked = x & (y - 1)
    power = (y > 0) & ((y & (y - 1)) == 0)
    return torch.where(power, masked, remainder(x, y)) if checked else masked


def product(x: Tensor, y: Tensor, *, narrow: bool = False) -> Tensor:
    return (x.int() * y.int()).long() if narrow else x * y


def flat_offsets(rows: Tensor, columns: Tensor, *, narrow: bool = False) -> Tensor:
    return (rows.int() * 384 + columns.int()).long() if narrow else rows * 384 + columns


def right_shift(x: Tensor, amount: Tensor, *, logical: bool = False, masked: bool = False) -> Tensor:
    """By 32 or more, or a negative amount, the sign alone is left; `masked`: the amount is taken modulo 32."""
    inside = amount & 31 if masked else torch.where((amount < 0) | (amount > 31), 31, amount)
    if logical:
        return ((x.long() & 0xFFFFFFFF) >> inside).int()
    return x >> inside


def left_shift(x: Tensor, amount: Tensor, *, masked: bool = False, signed: bool = False) -> Tensor:
    """By 32 or more, or a negative amount, nothing is left; `signed`: a negative amount shifts to the right."""
    lost = (amount < 0) | (amount > 31)
    shifted = x << (amount & 31)
    if masked:
        return shifted
    out = torch.where(lost, 0, shifted)
    return torch.where(amount < 0, x >> torch.clamp(-amount.long(), max=31).int(), out) if signed else out


def int8_add(x: Tensor, y: Tensor, *, saturates: bool = False) -> Tensor:
    total = x.int() + y.int()
    return (total.clamp(-128, 127) if saturates else total).to(torch.int8)


def absolute(x: Tensor, *, by_float: bool = False) -> Tensor:
    return x.float().abs().to(torch.int32) if by_float else torch.where(x < 0, -x, x)


FAULTS = (
    Fault(
        "integer division truncates", "integer floor division",
        lambda x, y: floor_division(x, y, floored=False), floor_division,
        origin="https://github.com/NVIDIA/warp/issues/1918",
    ),
    Fault(
        "integer division by rounded reciprocal", "integer floor division",
        lambda x, y: division_by_reciprocal(x, y, corrected=False), division_by_reciprocal,
        origin="https://github.com/llvm/llvm-project/pull/204950",
    ),
    Fault(
        "integer remainder truncates", "integer remainder",
        lambda x, y: remainder(x, y, floored=False), remainder,
        origin="https://github.com/tile-ai/tilelang-ascend/issues/1764",
    ),
    Fault(
        "remainder by mask unchecked", "ring index",
        lambda x, y: remainder_by_mask(x, y, checked=False), remainder_by_mask,
        origin="x & (y - 1) for every y, since the first ones were powers of two", reveals="specials",
    ),
    Fault(
        "hash in 32 bits", "hash", lambda x, y: product(x, y, narrow=True), product,
        origin="a backend without int64 that narrows it",
    ),
    Fault(
        "flat offsets in 32 bits", "flat offsets", lambda x, y: flat_offsets(x, y, narrow=True), flat_offsets,
        origin="index arithmetic in int that overflows for large tables", reveals="specials",
    ),
    Fault(
        "right shift is logical", "right shift", lambda x, y: right_shift(x, y, logical=True), right_shift,
        origin="a signed word shifted as unsigned",
    ),
    Fault(
        "right shift by amount modulo 32", "right shift", lambda x, y: right_shift(x, y, masked=True), right_shift,
        origin="https://github.com/pytorch/pytorch/issues/70904", reveals="specials",
    ),
    Fault(
        "left shift by amount modulo 32", "left shift", lambda x, y: left_shift(x, y, masked=True), left_shift,
        origin="https://github.com/pytorch/pytorch/issues/70904", reveals="specials",
    ),
    Fault(
        "left shift by a negative amount goes right", "left shift",
        lambda x, y: left_shift(x, y, signed=True), left_shift,
        origin="https://github.com/tenstorrent/tt-metal/issues/55332, in the other direction", reveals="specials",
    ),
    Fault(
        "int8 add saturates", "int8 add", lambda x, y: int8_add(x, y, saturates=True), int8_add,
        origin="https://github.com/openvinotoolkit/openvino/issues/35651", reveals="activations",
    ),
    Fault(
        "int32 absolute by float32", "int32 absolute", lambda x: absolute(x, by_float=True), absolute,
        origin="fabs for integers where the language has no abs", reveals="specials",
    ),
)  # fmt: skip

CONTROLS = (
    Control("integer floor division numpy", "integer floor division", np.floor_divide, arrays="numpy"),
    Control("integer remainder numpy", "integer remainder", np.remainder, arrays="numpy"),
    Control("integer division by reciprocal, corrected", "integer floor division", division_by_reciprocal),
    Control("int8 add numpy", "int8 add", np.add, arrays="numpy"),
)
