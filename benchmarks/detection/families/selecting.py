"""Elementwise operators that only select: relu, clamp, maximum, where."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.detection.activations import LOWEST, every, padding, scores
from benchmarks.detection.model import Control, Fault, Subject

ALL = ("", "float16", "bfloat16")


def _inner() -> list[tuple[Tensor]]:
    return [(t.flatten(0, 1)[:, :160],) for t in every("inner")]


def _with_limits() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Residual streams with what clips the outer hundredth of each channel."""
    rows = [t.flatten(0, 1)[:, 64:192] for t in every("residual")]
    return [(r, r.quantile(0.01, dim=0), r.quantile(0.99, dim=0)) for r in rows]


def _pairs() -> list[tuple[Tensor, Tensor]]:
    return [(q.flatten(0, 2), k.flatten(0, 2)) for q, k in zip(every("q"), every("k"), strict=True)]


def _masked() -> list[tuple[Tensor, Tensor, Tensor]]:
    return [(padding(batch) == 0, scores(batch, layer), torch.tensor(LOWEST)) for batch in range(3) for layer in (1, 5)]


SUBJECTS = (
    Subject("relu", "arithmetic", "aten.relu.default", _inner, moves=True),
    Subject("clamp", "arithmetic", "aten.clamp.Tensor", _with_limits, moves=True),
    Subject("maximum", "arithmetic", "aten.maximum.default", _pairs, moves=True),
    Subject("where", "arithmetic", "aten.where.self", _masked, moves=True),
)


def relu(x: Tensor, *, drops_nan: bool = False) -> Tensor:
    return torch.where(x > 0, x, 0.0) if drops_nan else torch.where(x < 0, 0.0, x)


def relu_in_place(x: Tensor) -> Tensor:
    return x.relu_()


def clamp(x: Tensor, low: Tensor, high: Tensor, *, min_last: bool = False, drops_nan: bool = False) -> Tensor:
    """min(max(x, low), high), NaN staying NaN."""
    if drops_nan:
        return torch.fmin(torch.fmax(x, low), high)
    if min_last:
        return torch.maximum(torch.minimum(x, high), low)
    return torch.minimum(torch.maximum(x, low), high)


def clamp_or_input(x: Tensor, low: Tensor, high: Tensor, *, copy: bool = True) -> Tensor:
    """`copy` False: where nothing is clipped, the input itself is returned."""
    if bool(((x >= low) & (x <= high)).all()):
        return x.clone() if copy else x
    return clamp(x, low, high)


def maximum(x: Tensor, y: Tensor, *, ordered: bool = False) -> Tensor:
    """`ordered`: x > y ? x : y, which loses a NaN in x."""
    return torch.where((x > y) if ordered else (x > y) | torch.isnan(x), x, y)


def maximum_flat(x: Tensor, y: Tensor, *, strides: bool = True) -> Tensor:
    """`strides` False: the first operand's memory is read as if it were packed."""
    packed = x.contiguous() if strides else x.as_strided(x.shape, torch.empty(x.shape).stride())
    return torch.maximum(packed, y)


def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition, x, y)


def where_by_product(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    mask = condition.to(x.dtype)
    return mask * x + (1 - mask) * y


FAULTS = (
    Fault(
        "relu drops NaN", "relu", lambda x: relu(x, drops_nan=True), relu,
        origin="https://github.com/apache/mxnet/issues/11115", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "relu writes its input", "relu", relu_in_place, relu,
        origin="an operator made in place by a memory planner that missed a second reader",
    ),
    Fault(
        "clamp with min last", "clamp", lambda *a: clamp(*a, min_last=True), clamp,
        origin="https://github.com/pytorch/pytorch/pull/43288", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "clamp drops NaN", "clamp", lambda *a: clamp(*a, drops_nan=True), clamp,
        origin="https://github.com/tracel-ai/burn/pull/5658", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "clamp returns its input", "clamp", lambda *a: clamp_or_input(*a, copy=False), clamp_or_input,
        origin="an early return when there is nothing to do", reveals="activations",
    ),
    Fault(
        "maximum loses a first NaN", "maximum", lambda x, y: maximum(x, y, ordered=True), maximum,
        origin="https://github.com/apache/tvm/issues/19579", reveals="specials", dtypes=ALL,
    ),
    Fault(
        "maximum ignores strides", "maximum", lambda x, y: maximum_flat(x, y, strides=False), maximum_flat,
        origin="https://github.com/flagos-ai/Torch-FL/issues/173", reveals="layout",
    ),
    Fault(
        "where by product", "where", where_by_product, where,
        origin="https://github.com/tenstorrent/tt-metal/issues/22308", reveals="specials", dtypes=ALL,
    ),
)  # fmt: skip

CONTROLS = (
    Control("relu torch", "relu", torch.relu, dtypes=ALL),
    Control("clamp torch", "clamp", torch.clamp, dtypes=ALL),
    Control("maximum numpy", "maximum", np.maximum, arrays="numpy"),
)
