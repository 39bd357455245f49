"""Masks and borders: where, masked_fill, triu and tril, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]
HALVES = ("", "float16", "bfloat16")


def _pooled() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Hidden states where there is a token, the ones before the layer norm where there is padding."""
    return [
        (recorded("mask", n)[..., None] > 0, recorded("normed", n, 5)[..., :90], recorded("residual", n, 5)[..., :90])
        for n in BATCHES
    ]


def _scores(batch: int, layer: int = 1) -> Tensor:
    scores: Tensor = recorded("q", batch, layer) @ recorded("k", batch, layer).mT * 32**-0.5
    return scores


def _hidden() -> list[tuple[Tensor, Tensor, float]]:
    """Attention scores with the keys that are padding hidden."""
    return [(_scores(n), recorded("mask", n)[:, None, None, :] == 0, -10000.0) for n in BATCHES]


def _causal() -> list[tuple[Tensor, int]]:
    """Scores of the last positions against all: fewer rows than columns, as in chunked prefill."""
    return [(_scores(n)[:, :2, -rows:].contiguous(), 1) for n, rows in zip(BATCHES, (14, 15, 9), strict=True)]


def _projections() -> list[tuple[Tensor, int]]:
    """Square parts of a weight, which a triangular solver takes the lower half of."""
    return [(weight("weight", 1)[:n, :n], -1) for n in (32, 48, 64)]


def _padded() -> list[tuple[Tensor, list[int], float]]:
    """Hidden states with one channel before, two behind, and three positions before."""
    return [(states[..., : 80 + 8 * n], [1, 2, 3, 0], -1.5) for n, states in enumerate(every("normed")[::2])]


def _cropped() -> list[tuple[Tensor, list[int], float]]:
    """The first position removed and one added, which shifts tokens to the left."""
    return [(states[..., : 80 + 8 * n], [0, 0, -1, 1], 0.0) for n, states in enumerate(every("normed")[1::2])]


def _reflected() -> list[tuple[Tensor, list[int], str]]:
    """Channels over time with a mirrored margin, as a vocoder pads them."""
    return [(states[..., :60].transpose(1, 2).contiguous(), [3, 2], "reflect") for states in every("inner")[::2]]


SUBJECTS = (
    Subject("where padding", "movement", "aten.where.self", _pooled, moves=True),
    Subject("masked_fill", "movement", "aten.masked_fill.Scalar", _hidden, moves=True),
    Subject("triu", "movement", "aten.triu.default", _causal, moves=True),
    Subject("tril", "movement", "aten.tril.default", _projections, moves=True),
    Subject("pad", "movement", "aten.constant_pad_nd.default", _padded, moves=True),
    Subject("pad and crop", "movement", "aten.constant_pad_nd.default", _cropped, moves=True),
    Subject("reflect pad", "movement", "aten.pad.default", _reflected, moves=True),
)


def where(condition: Tensor, x: Tensor, y: Tensor, *, read: str = "broadcast") -> Tensor:
    """Selects; `read` says how the condition is brought to the shape of the others."""
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    if read == "packed" and condition.numel():
        pitches = torch.empty(condition.shape, device="meta").stride()
        condition = condition.as_strided(condition.shape, pitches)
    if read == "modulo" and condition.numel():
        count = int(torch.Size(shape).numel())
        condition = condition.reshape(-1)[torch.arange(count) // shape[-1] % condition.numel()].reshape(shape)
    return torch.where(condition.expand(shape), x.expand(shape), y.expand(shape))


def where_by_product(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """c * x + (1 - c) * y: what is not chosen must be finite."""
    chosen = condition.to(x.dtype)
    return chosen * x + (1 - chosen) * y


def masked_fill(x: Tensor, mask: Tensor, value: float, *, add: bool = False, count: int | None = None) -> Tensor:
    """`add` adds the value instead; `count` hides no more than so many keys of a row."""
    hidden = mask.expand(np.broadcast_shapes(x.shape, mask.shape))
    if count is not None:
        hidden = hidden & (hidden.cumsum(-1) <= count)
    if add:
        return torch.where(hidden, (x.float() + value).to(x.dtype), x)
    return torch.where(hidden, torch.tensor(value, dtype=x.dtype), x)


def triangle(
    x: Tensor, diagonal: int, *, upper: bool, corner: str = "first", product: bool = False, tile: int = 1
) -> Tensor:
    """Upper or lower triangle. `corner` says which one the diagonal starts from; `product` multiplies by the mask.

    With a `tile` above 1 whole tiles are kept or cleared first, by their first column alone.
    """
    *_, height, width = x.shape
    first = width - height if corner == "last" else 0
    row, column = torch.arange(height)[:, None], torch.arange(width) // tile * tile
    keep = column - row >= diagonal + first if upper else column - row <= diagonal + first
    return x * keep.to(x.dtype) if product else torch.where(keep, x, torch.zeros_like(x))


def pad(
    x: Tensor,
    widths: list[int],
    value: float,
    *,
    swapped: bool = False,
    reverse: bool = False,
    fill: bool = True,
    crop: bool = True,
) -> Tensor:
    """Constant borders, pairs of widths from the last axis on; negative widths crop."""
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    pairs = [pair[::-1] for pair in pairs] if swapped else pairs
    out = x
    for number, (before, behind) in enumerate(pairs):
        axis = x.dim() - len(pairs) + number if reverse else x.dim() - 1 - number
        extent = out.shape[axis]
        if crop:
            cut = max(-before, 0)
            out = out.narrow(axis, cut, extent - cut - max(-behind, 0))
        shape = list(out.shape)
        border = [
            out.new_full([*shape[:axis], max(n, 0), *shape[axis + 1 :]], value if fill else 0.0)
            for n in (before, behind)
        ]
        out = torch.cat([border[0], out, border[1]], axis)
    return out.clone() if out is x else out


def crop_by_roll(x: Tensor, widths: list[int], value: float) -> Tensor:
    """Shifts by rolling; what comes round at the end ought to have been overwritten."""
    return x.roll(-1, -2)


def reflect(x: Array, widths: list[int], mode: str, *, first: int = 0, last: int = 0) -> Array:
    """Mirrored margins of the last axis; `first` and `last` 1 repeat that edge itself (numpy's symmetric mode)."""
    before, behind = widths
    extent = x.shape[-1]
    at = np.arange(-before, extent + behind)
    at = np.where(at < 0, -at - first, at)
    return x[..., np.where(at >= extent, 2 * extent - 2 + last - at, at)]


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


triu, tril = _with(triangle, upper=True), _with(triangle, upper=False)

FAULTS = (
    Fault(
        "where padding by product", "where padding", where_by_product, where,
        origin="select lowered to c * x + (1 - c) * y: NaN and infinity leak from the other branch",
        reveals="specials",
    ),
    Fault(
        "where padding reads a strided condition as packed", "where padding", _with(where, read="packed"), where,
        origin="https://github.com/pytorch/pytorch/issues/150967", reveals="layout",
    ),
    Fault(
        "masked_fill adds", "masked_fill", _with(masked_fill, add=True), masked_fill,
        origin="a fill taken for an additive mask, which keeps the digits of what it hides", reveals="activations",
        dtypes=HALVES,
    ),
    Fault(
        "masked_fill hides at most 64 keys of a row", "masked_fill", _with(masked_fill, count=64), masked_fill,
        origin="a row's mask packed into one 64-bit word", reveals="structure",
    ),
    Fault(
        "triu aligned to the last corner", "triu", _with(triangle, upper=True, corner="last"), triu,
        origin="bottom-right causal alignment in place of torch's top-left: the same when square",
        reveals="activations",
    ),
    Fault(
        "triu by product", "triu", _with(triangle, upper=True, product=True), triu,
        origin="a triangle as a product with zeros and ones: infinity becomes NaN", reveals="specials", dtypes=HALVES,
    ),
    Fault(
        "tril aligned to the last corner", "tril", _with(triangle, upper=False, corner="last"), tril,
        origin="bottom-right causal alignment in place of torch's top-left: the same when square", reveals="shapes",
    ),
    Fault(
        "tril by pairs of columns", "tril", _with(triangle, upper=False, tile=2), tril,
        origin="vector of two stored if its first lane is kept",
    ),
    Fault(
        "pad before and behind exchanged", "pad", _with(pad, swapped=True), pad,
        origin="ONNX lists all begins, then all ends; torch lists pairs",
    ),
    Fault(
        "pad from the first axis", "pad", _with(pad, reverse=True), pad,
        origin="https://github.com/onnx/tensorflow-onnx/issues/201",
    ),
    Fault(
        "pad ignores its value", "pad", _with(pad, fill=False), pad, origin="border cleared, not filled",
    ),
    Fault(
        "pad ignores negative widths", "pad and crop", _with(pad, crop=False), pad,
        origin="https://github.com/microsoft/onnxruntime/issues/11828",
    ),
    Fault(
        "pad and crop by roll", "pad and crop", crop_by_roll, pad,
        origin="token shift ported as a roll: the first position comes round to the end",
    ),
    Fault(
        "reflect pad repeats the edge", "reflect pad", _with(reflect, first=1, last=1), reflect,
        origin="reflect and symmetric exchanged between frameworks", written="numpy", arrays="numpy",
    ),
    Fault(
        "reflect pad repeats the last edge", "reflect pad", _with(reflect, last=1), reflect,
        origin="mirror about n in place of n - 1 at the far end", written="numpy", arrays="numpy",
    ),
)  # fmt: skip


def where_numpy(condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition, x, y)


def pad_preallocated(x: Tensor, widths: list[int], value: float) -> Tensor:
    (left, right), (above, below) = widths[:2], widths[2:]
    *rest, height, width = x.shape
    out = x.new_full((*rest, above + height + below, left + width + right), value)
    out[..., above : above + height, left : left + width] = x
    return out


CONTROLS = (
    Control("where padding numpy", "where padding", where_numpy, arrays="numpy"),
    Control("pad preallocated", "pad", pad_preallocated, dtypes=HALVES),
    Control("triu numpy", "triu", lambda x, k: np.triu(x, k), arrays="numpy"),
    Control("tril by comparison", "tril", tril, dtypes=HALVES),
    Control("masked_fill by selection", "masked_fill", masked_fill, dtypes=HALVES),
    Control("reflect pad by index", "reflect pad", reflect, arrays="numpy"),
)
