"""Group normalisation and normalisation to unit length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import LAYERS, every, recorded, weight
from benchmarks.detection.families.reductions import merged, of_squares, two_pass
from benchmarks.detection.families.sums import ALL, HALF
from benchmarks.detection.model import Control, Fault, Subject

EPS = 1e-12


def _channels() -> list[tuple[Tensor, int, Tensor, Tensor, float]]:
    """Tokens as positions of an image one row high, 48 channels in 8 groups."""
    examples = []
    for batch in range(3):
        for layer in LAYERS:
            x = recorded("residual", batch, layer)[:, :, 150:198].transpose(1, 2).contiguous()
            examples.append((x, 8, weight("gamma", layer)[150:198], weight("beta", layer)[150:198], 1e-5))
    return examples


def _embeddings() -> list[tuple[Tensor]]:
    """Token embeddings, padding at zero, before a cosine similarity."""
    return [
        ((n * recorded("mask", number // 2)[..., None]).flatten(0, 1)[:, :256],)
        for number, n in enumerate(every("normed"))
    ]


def unit(x: Tensor) -> Tensor:
    """The definition, as torch and ONNX have it: the length is at least 1e-12."""
    return F.normalize(x, dim=-1, eps=EPS)


SUBJECTS = (
    Subject("group norm", "normalisation", "aten.group_norm.default", _channels),
    Subject("unit length", "normalisation", unit, _embeddings),
)


def group_norm(
    x: Tensor, groups: int, gamma: Tensor, beta: Tensor, eps: float,
    *,
    squares: Callable[[Tensor], Tensor] = two_pass,
    interleaved: bool = False,
    by_group: bool = False,
    pad: int = 1,
    unbiased: bool = False,
) -> Tensor:  # fmt: skip
    """In float32 inside.

    `interleaved` takes channel c to group c % groups, `by_group` looks weights up by the group, `pad` counts positions
    up to a multiple of it, `unbiased` divides by one less.
    """
    if not x.numel():
        return x.clone()
    n, channels = x.shape[:2]
    wide = x.float().reshape(n, channels, -1)
    size, spread = channels // groups, wide.shape[-1]
    if interleaved:
        wide = wide.reshape(n, size, groups, spread).transpose(1, 2).flatten(1, 2)
    rows = wide.reshape(n, groups, -1)
    count = size * (-(-spread // pad) * pad)
    mean = rows.sum(-1, keepdim=True) / count
    scale = torch.rsqrt(squares(rows) / (count - unbiased) + eps)
    normal = ((rows - mean) * scale).reshape(n, channels, spread)
    if interleaved:
        normal = normal.reshape(n, groups, size, spread).transpose(1, 2).flatten(1, 2)
    places = torch.arange(channels) // size if by_group else torch.arange(channels)
    affine = normal * gamma.float()[places, None] + beta.float()[places, None]
    return affine.reshape(x.shape).to(x.dtype)


def first_image(x: Tensor, groups: int, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """Every image normalised by the statistics of the first."""
    if not x.numel():
        return x.clone()
    rows = x.float().reshape(x.shape[0], groups, -1)
    first = rows[:1]
    scale = torch.rsqrt(two_pass(first) / first.shape[-1] + eps)
    normal = ((rows - first.mean(-1, keepdim=True)) * scale).reshape(x.shape[0], x.shape[1], -1)
    return (normal * gamma.float()[:, None] + beta.float()[:, None]).reshape(x.shape).to(x.dtype)


def half_squares(rows: Tensor) -> Tensor:
    return (rows - rows.mean(-1, keepdim=True)).half().square().float().sum(-1, keepdim=True)


def at_least(squares: Tensor) -> Tensor:
    return squares.sqrt().clamp_min(EPS)


def added_inside(squares: Tensor) -> Tensor:
    return (squares + EPS).sqrt()


def added_outside(squares: Tensor) -> Tensor:
    return squares.sqrt() + EPS


def square_at_least(squares: Tensor) -> Tensor:
    """1e-12 is the least square here, not the least length."""
    return squares.clamp_min(EPS).sqrt()


def unit_by(
    length: Callable[[Tensor], Tensor] = at_least, *, squares: torch.dtype = torch.float32, dim: int = -1
) -> Callable[[Tensor], Tensor]:
    def normalise(x: Tensor) -> Tensor:
        wide = x.float()
        total = wide.to(squares).square().float().sum(dim, keepdim=True)
        return (wide / length(total)).to(x.dtype)

    return normalise


def unit_by_reciprocal(x: Tensor) -> Tensor:
    wide = x.float()
    return (wide * at_least(wide.square().sum(-1, keepdim=True)).reciprocal()).to(x.dtype)


def _group(name: str, origin: str, dtypes: tuple[str, ...] = ALL, reveals: str = "anything", **wrong: object) -> Fault:
    faulty = partial(group_norm, **wrong)  # type: ignore[arg-type]
    return Fault(name, "group norm", faulty, group_norm, origin=origin, dtypes=dtypes, reveals=reveals)  # type: ignore[arg-type]


FAULTS = (
    _group(
        "group norm interleaved", "https://github.com/tenstorrent/tt-metal/pull/56202", interleaved=True,
    ),
    _group("group norm weights by group", "gamma and beta indexed by the group, not by the channel", by_group=True),
    _group(
        "group norm variance of squares", "E[x^2] - E[x]^2", squares=of_squares, reveals="activations",
    ),
    _group("group norm unbiased", "torch.var divides by n - 1 unless told not to", unbiased=True),
    _group(
        "group norm squares in float16", "https://github.com/neuroneural/brainchop-cli/pull/56", HALF, "activations",
        squares=half_squares,
    ),
    _group(
        "group norm counts padding", "https://github.com/tenstorrent/tt-metal/issues/52685", reveals="shapes", pad=2,
    ),
    Fault(
        "group norm of first image", "group norm", first_image, group_norm,
        origin="the statistics' index has no batch in it", dtypes=ALL,
    ),
    Fault(
        "unit length eps inside root", "unit length", unit_by(added_inside), unit_by(),
        origin="https://github.com/apple/axlearn/pull/21", reveals="activations",
    ),
    Fault(
        "unit length eps of squares", "unit length", unit_by(square_at_least), unit_by(),
        origin="https://github.com/openvinotoolkit/openvino/pull/36778", reveals="activations",
    ),
    Fault(
        "unit length without eps", "unit length", unit_by(torch.sqrt), unit_by(),
        origin="x / norm(x): 0 / 0 for an empty text", reveals="structure",
    ),
    Fault(
        "unit length squares in float16", "unit length", unit_by(squares=torch.float16), unit_by(),
        origin="https://github.com/lance-format/lance/pull/8533", reveals="activations", dtypes=HALF,
    ),
    Fault(
        "unit length over tokens", "unit length", unit_by(dim=0), unit_by(),
        origin="the axis counted from the wrong end",
    ),
)  # fmt: skip

CONTROLS = (
    Control("group norm merged", "group norm", partial(group_norm, squares=merged), dtypes=ALL),
    Control("unit length by reciprocal", "unit length", unit_by_reciprocal, dtypes=("", "bfloat16")),
    Control("unit length eps added to length", "unit length", unit_by(added_outside), dtypes=("",)),
)
