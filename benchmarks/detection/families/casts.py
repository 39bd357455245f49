"""Casts between floating dtypes, integers and booleans; rounding to whole numbers."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded
from benchmarks.detection.model import Control, Fault, Subject


def _residuals() -> list[tuple[Tensor]]:
    return [(t.flatten(0, 1)[:, 96:256],) for t in every("residual")]


def _probabilities() -> list[tuple[Tensor]]:
    """Probabilities of tokens: most are far below one."""
    return [(torch.softmax(2 * t[:6], -1),) for t in every("logits")]


def _halves() -> list[tuple[Tensor]]:
    return [(t.half(),) for (t,) in _probabilities()]


def _ids() -> list[tuple[Tensor]]:
    """Token ids as features, several to a token."""
    return [(recorded("ids", batch).reshape(-1, 1) + torch.arange(24),) for batch in BATCHES]


def _bytes() -> list[tuple[Tensor]]:
    """Activations as unsigned bytes with zero point 128."""
    shifted = [(t.flatten(0, 1)[:, :160] * 16).round() + 128 for t in every("inner")]
    return [(s.clamp(0, 255).to(torch.uint8),) for s in shifted]


def _coordinates() -> list[tuple[Tensor]]:
    """Where the pixels of an image enlarged twice or shrunk by half come from."""
    return [(torch.arange(-n, n, dtype=torch.float32).reshape(-1, 8) * 0.5,) for n in (512, 320, 192)]


def to_half(x: Tensor) -> Tensor:
    return x.to(torch.float16)


def to_bfloat16(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16)


def to_float(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def to_int32(x: Tensor) -> Tensor:
    return x.to(torch.int32)


def to_bool(x: Tensor) -> Tensor:
    return x.to(torch.bool)


SUBJECTS = (
    Subject("cast to float16", "casts", to_half, _probabilities),
    Subject("cast residual to float16", "casts", to_half, _residuals),
    Subject("cast to bfloat16", "casts", to_bfloat16, _residuals),
    Subject("cast integers to bfloat16", "casts", to_bfloat16, _ids),
    Subject("cast float16 to float32", "casts", to_float, _halves, moves=True),
    Subject("cast bytes to float32", "casts", to_float, _bytes, moves=True),
    Subject("cast to int32", "casts", to_int32, _residuals),
    Subject("cast to bool", "casts", to_bool, _probabilities),
    Subject("round", "casts", "aten.round.default", _residuals),
    Subject("round coordinates", "casts", "aten.round.default", _coordinates),
    Subject("floor", "casts", "aten.floor.default", _residuals),
)


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.int32).long() & 0xFFFFFFFF


def bfloat16_by_bits(x: Tensor, *, add: str = "even", nan: bool = True) -> Tensor:
    """The upper half of a float32 after adding what rounds it; NaN, which could carry over, is kept apart."""
    bits = _bits(x)
    even = 0x7FFF + ((bits >> 16) & 1)
    half = {"even": even, "away": torch.full_like(even, 0x8000), "nothing": torch.zeros_like(even)}[add]
    upper = (bits + half) >> 16
    if nan:
        upper = torch.where(torch.isnan(x), 0x7FC0, upper)
    upper = upper & 0xFFFF
    return torch.where(upper > 0x7FFF, upper - 0x10000, upper).to(torch.int16).view(torch.bfloat16)


def integer_to_bfloat16(x: Tensor, *, add: str = "even") -> Tensor:
    """Through float32, which holds these exactly; larger ones round twice, so their last bits are made to stick."""
    size, sign = x.abs(), torch.sign(x)
    shift = (torch.floor(torch.log2(size.double().clamp(min=1))).long() - 22).clamp(min=0)
    kept = (size >> shift) << shift
    sticky = torch.where(size != kept, kept | (torch.ones_like(x) << shift), kept)
    return bfloat16_by_bits((sign * sticky).to(torch.float32), add=add)


def half_saturating(x: Tensor, *, saturates: bool = True) -> Tensor:
    return (x.clamp(-65504, 65504) if saturates else x).to(torch.float16)


def half_flushing(x: Tensor, *, flush: bool = True) -> Tensor:
    out = x.to(torch.float16)
    return torch.where(out.abs() < 2.0**-14, 0.0, out) if flush else out


def half_to_float(x: Tensor, *, subnormals: bool = True, specials: bool = True) -> Tensor:
    """Exponent and significand put together by hand."""
    bits = x.contiguous().view(torch.int16).int()
    exponent, significand = (bits >> 10) & 31, bits & 1023
    normal = torch.ldexp(1 + significand / 1024, exponent - 15)
    small = significand * 2.0**-24 if subnormals else torch.zeros_like(normal)
    out = torch.where(exponent == 0, small, normal)
    if specials:
        out = torch.where(exponent == 31, torch.where(significand == 0, torch.inf, torch.nan), out)
    return torch.where(bits < 0, -out, out)


def bytes_to_float(x: Tensor, *, signed: bool = False) -> Tensor:
    return (x.view(torch.int8) if signed else x).to(torch.float32)


def truncated(x: Tensor, *, function: Any = torch.trunc) -> Tensor:
    return function(x).to(torch.int32)  # type: ignore[no-any-return]


def truth(x: Tensor, *, by: str = "unequal") -> Tensor:
    """`integer`: whether the truncated number is not zero; `ordered`: whether it is above or below zero."""
    if by == "integer":
        return x.to(torch.int32) != 0
    return (x > 0) | (x < 0) if by == "ordered" else x != 0


def rounded(x: Tensor, *, ties: str = "even") -> Tensor:
    """To the nearest integer; ties to even, away from zero, or up (floor of x + 1/2, which may itself round)."""
    wide = x.float()
    if ties == "up":
        return torch.floor(wide + 0.5).to(x.dtype)
    low = torch.floor(wide)
    part = wide - low
    up = {"even": torch.remainder(low, 2) == 1, "away": wide > 0}[ties]
    out = torch.where((part > 0.5) | ((part == 0.5) & up), low + 1, low)
    return torch.where(torch.isinf(wide), wide, out).to(x.dtype)


def floored(x: Tensor, *, by_integer: bool = False, mended: bool = True) -> Tensor:
    """The truncated number, less one where it lies above; `by_integer`: truncated by way of int32."""
    wide = x.float()
    whole = wide.to(torch.int32).float() if by_integer else torch.trunc(wide)
    return (whole - (whole > wide).float() if mended else whole).to(x.dtype)


ALL = ("", "float16", "bfloat16")

FAULTS = (
    Fault(
        "bfloat16 by truncation", "cast to bfloat16", lambda x: bfloat16_by_bits(x, add="nothing"), bfloat16_by_bits,
        origin="https://github.com/tenstorrent/tt-metal/pull/19882",
    ),
    Fault(
        "bfloat16 with ties away", "cast to bfloat16", lambda x: bfloat16_by_bits(x, add="away"), bfloat16_by_bits,
        origin="IEEE 754-2019, 4.3.1: half is added without looking at the last bit", reveals="structure",
    ),
    Fault(
        "bfloat16 carries NaN over", "cast to bfloat16", lambda x: bfloat16_by_bits(x, nan=False), bfloat16_by_bits,
        origin="https://github.com/stillwater-sc/universal/pull/1134", reveals="specials",
    ),
    Fault(
        "integers to bfloat16 by truncation", "cast integers to bfloat16",
        lambda x: integer_to_bfloat16(x, add="nothing"), integer_to_bfloat16,
        origin="https://github.com/tile-ai/tilelang/issues/2483", reveals="activations",
    ),
    Fault(
        "float16 saturates", "cast residual to float16", half_saturating, lambda x: half_saturating(x, saturates=False),
        origin="a saturating conversion where IEEE 754 overflows to infinity", reveals="activations",
    ),
    Fault(
        "float16 flushes subnormals", "cast to float16", half_flushing, lambda x: half_flushing(x, flush=False),
        origin="a conversion with denormals off: small probabilities are zero",
    ),
    Fault(
        "float16 subnormals read as zero", "cast float16 to float32",
        lambda x: half_to_float(x, subnormals=False), half_to_float,
        origin="half decoded by shifting bits, subnormals left out",
    ),
    Fault(
        "float16 infinity read as a number", "cast float16 to float32",
        lambda x: half_to_float(x, specials=False), half_to_float,
        origin="half decoded by shifting bits, exponent 31 left out", reveals="specials",
    ),
    Fault(
        "bytes read as signed", "cast bytes to float32", lambda x: bytes_to_float(x, signed=True), bytes_to_float,
        origin="uint8 loaded through a char pointer",
    ),
    Fault(
        "int32 by rounding", "cast to int32", lambda x: truncated(x, function=torch.round), truncated,
        origin="a conversion instruction in the default rounding mode",
    ),
    Fault(
        "int32 by floor", "cast to int32", lambda x: truncated(x, function=torch.floor), truncated,
        origin="floor before the conversion: negative numbers are one too low",
    ),
    Fault(
        "bool by integer", "cast to bool", lambda x: truth(x, by="integer"), truth,
        origin="https://github.com/triton-lang/triton/pull/545", dtypes=ALL,
    ),
    Fault(
        "bool of NaN is false", "cast to bool", lambda x: truth(x, by="ordered"), truth,
        origin="https://github.com/NVIDIA/numba-cuda-mlir/pull/307", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "round ties away", "round coordinates", lambda x: rounded(x, ties="away"), rounded,
        origin="https://github.com/pytorch/executorch/pull/21065", dtypes=ALL,
    ),
    Fault(
        "round ties up", "round", lambda x: rounded(x, ties="up"), rounded,
        origin="floor(x + 0.5) for round", reveals="structure",
    ),
    Fault(
        "floor truncates", "floor", lambda x: floored(x, mended=False), floored,
        origin="https://github.com/pyccel/pyccel/issues/715", dtypes=ALL,
    ),
    Fault(
        "floor through int32", "floor", lambda x: floored(x, by_integer=True), floored,
        origin="https://github.com/tinygrad/tinygrad/issues/11655", reveals="specials",
    ),
)  # fmt: skip


def _ml_bfloat16(x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    return x.astype(ml_dtypes.bfloat16)


CONTROLS = (
    Control("bfloat16 by ml_dtypes", "cast to bfloat16", _ml_bfloat16, arrays="numpy"),
    Control("integers to bfloat16 torch", "cast integers to bfloat16", to_bfloat16),
    Control("float16 by numpy", "cast to float16", lambda x: x.astype(np.float16), arrays="numpy"),
    Control("round numpy", "round coordinates", np.round, arrays="numpy"),
    Control("floor torch", "floor", torch.floor, dtypes=ALL),
)
