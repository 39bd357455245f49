"""Copies: as they are, expanded, repeated, rolled, flipped."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]
HALVES = ("", "float16", "bfloat16")


def _masks() -> list[tuple[Tensor, list[int]]]:
    """A padding mask for every query head."""
    return [(recorded("mask", n)[:, None, :].float().log(), [-1, 12, -1]) for n in BATCHES]


def _shared() -> list[tuple[Tensor]]:
    """Two key heads that serve four query heads each."""
    return [(k[:, :2],) for k in every("k")[::2]]


def _states() -> list[tuple[Tensor]]:
    return [(states[..., : 120 + 8 * n],) for n, states in enumerate(every("residual")[::2])]


def _rolls() -> list[tuple[Tensor, list[int], list[int]]]:
    """Positions shifted by 5, as a shifted window shifts them."""
    return [(states, [5], [1]) for (states,) in _states()]


def _flips() -> list[tuple[Tensor, list[int]]]:
    """Time reversed, as a bidirectional recurrence reads it."""
    return [(states, [1]) for (states,) in _states()]


def _tiles() -> list[tuple[Tensor, list[int]]]:
    """A batch repeated for two beams and its width for three experts."""
    return [(states[:, 0, :40], [2, 3]) for states in every("normed")[::2]]


def repeat_kv(keys: Tensor, groups: int = 4) -> Tensor:
    """Each key head repeated for the query heads that share it."""
    batch, heads, length, width = keys.shape
    wide = keys[:, :, None].expand(batch, heads, groups, length, width)
    return wide.reshape(batch, heads * groups, length, width)


SUBJECTS = (
    Subject("expand", "movement", "aten.expand.default", _masks, moves=True),
    Subject("repeat_kv", "movement", repeat_kv, _shared, moves=True),
    Subject("clone", "movement", "aten.clone.default", _states, moves=True),
    Subject("roll", "movement", "aten.roll.default", _rolls, moves=True),
    Subject("flip", "movement", "aten.flip.default", _flips, moves=True),
    Subject("repeat", "movement", "aten.repeat.default", _tiles, moves=True),
)


def expand(x: Tensor, sizes: list[int], *, tiled: bool = False) -> Tensor:
    """Materialised; `tiled` lays whole copies of the input one after the other instead of repeating the axis."""
    shape = [old if new == -1 else new for old, new in zip(x.shape, sizes, strict=True)]
    if not tiled or not x.numel():
        return x.expand(shape).contiguous()
    return x.reshape(-1).repeat(prod(shape) // x.numel()).reshape(shape)


def repeat_heads(keys: Tensor, *, interleave: bool = True) -> Tensor:
    return keys.repeat_interleave(4, 1) if interleave else keys.repeat(1, 4, 1, 1)


def copy(x: Tensor, *, flush: bool = False, clean: bool = False, through: torch.dtype | None = None) -> Tensor:
    """Through a register; `flush` and `clean` are what arithmetic on the way may do, `through` a narrower register."""
    out = x.to(through).to(x.dtype) if through else x.clone()
    if flush:
        out = torch.where(x.abs() < torch.finfo(x.dtype).smallest_normal, torch.zeros_like(x), out)
    return torch.nan_to_num(out, 0.0, torch.inf, -torch.inf) if clean else out


def roll(
    x: Array, shifts: list[int], dims: list[int], *, remainder: Callable[..., Any] = np.mod, sign: int = 1
) -> Array:
    """out[i] = x[(i - shift) mod n]; a negative remainder would read before the row, which is clamped here."""
    (axis,), (shift,) = dims, shifts
    extent = x.shape[axis]
    if not extent:
        return x.copy()
    source = remainder(np.arange(extent) + extent - sign * shift, extent)
    return np.asarray(np.take(x, np.maximum(source, 0), axis=axis))


def flip(x: Tensor, dims: list[int], *, middle: bool = True) -> Tensor:
    """Pairs exchanged from both ends; the middle of an odd extent is its own partner."""
    (dim,) = dims
    extent, out = x.shape[dim], torch.empty_like(x)
    for near in range((extent + 1) // 2 if middle else extent // 2):
        far = extent - 1 - near
        out.select(dim, near).copy_(x.select(dim, far))
        out.select(dim, far).copy_(x.select(dim, near))
    return out


def repeat(x: Array, repeats: list[int], *, interleave: bool = False) -> Array:
    """Axis by axis, whole copies one after the other."""
    for axis, count in enumerate(repeats):
        x = np.repeat(x, count, axis=axis) if interleave else np.concatenate([x] * count, axis=axis)
    return x


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


FAULTS = (
    Fault(
        "expand lays out whole copies", "expand", _with(expand, tiled=True), expand,
        origin="a broadcast materialised by repeating the packed input: right for a batch of one",
        reveals="activations",
    ),
    Fault(
        "repeat_kv tiles heads", "repeat_kv", _with(repeat_heads, interleave=False), repeat_heads,
        origin="grouped-query attention ported with repeat for repeat_interleave",
    ),
    Fault(
        "copy flushes subnormals", "clone", _with(copy, flush=True), copy,
        origin="a copy that passes through a multiplication by one with flush to zero", reveals="specials",
    ),
    Fault(
        "copy cleans NaN", "clone", _with(copy, clean=True), copy,
        origin="a copy written as fmax(x, -inf), which drops NaN", reveals="specials", dtypes=HALVES,
    ),
    Fault(
        "copy through float16", "clone", _with(copy, through=torch.float16), copy,
        origin="half-precision registers for what only moves", dtypes=HALVES,
    ),
    Fault(
        "copy of bfloat16 through float16", "clone",
        lambda x: copy(x, through=torch.float16 if x.dtype == torch.bfloat16 else None), copy,
        origin="16-bit types share one path: bfloat16 overflows float16", reveals="specials",
        dtypes=("", "bfloat16"),
    ),
    Fault(
        "roll by more than the axis", "roll", _with(roll, remainder=np.fmod), roll,
        origin="(i + n - shift) % n with C's remainder goes negative when shift > n", reveals="shapes",
        written="numpy", arrays="numpy",
    ),
    Fault(
        "roll the other way", "roll", _with(roll, sign=-1), roll,
        origin="torch shifts towards higher indices, a gather kernel towards lower", written="numpy", arrays="numpy",
    ),
    Fault(
        "flip leaves the middle", "flip", _with(flip, middle=False), flip,
        origin="exchange of n / 2 pairs written for in-place use: out of place the middle stays unwritten",
        reveals="shapes",
    ),
    Fault(
        "repeat interleaves", "repeat", _with(repeat, interleave=True), repeat,
        origin="numpy's repeat in place of tile", written="numpy", arrays="numpy",
    ),
)  # fmt: skip


def flip_by_gather(x: Tensor, dims: list[int]) -> Tensor:
    return x.index_select(dims[0], torch.arange(x.shape[dims[0]]).flip(0))


def roll_by_cat(x: Tensor, shifts: list[int], dims: list[int]) -> Tensor:
    cut = (-shifts[0]) % max(x.shape[dims[0]], 1)
    return torch.cat([x.narrow(dims[0], cut, x.shape[dims[0]] - cut), x.narrow(dims[0], 0, cut)], dims[0])


def copy_words(x: Array) -> Array:
    """As words of the memory, whatever they mean."""
    return np.ascontiguousarray(x).view(np.uint8).copy().view(x.dtype).reshape(x.shape)


CONTROLS = (
    Control("repeat_kv interleaved", "repeat_kv", repeat_heads, dtypes=HALVES),
    Control("flip by gather", "flip", flip_by_gather, dtypes=HALVES),
    Control("roll by cat", "roll", roll_by_cat, dtypes=HALVES),
    Control("copy of words", "clone", copy_words, arrays="numpy"),
)
