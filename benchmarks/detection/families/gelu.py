"""Gelu, exact and by its tanh form, of the feed-forward activations that MiniLM gives it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.families.pointwise import ALL, tanh_by_expm1, tanh_by_two_exponentials
from benchmarks.detection.model import Control, Fault, Subject


def _inner() -> list[tuple[Tensor]]:
    return [(t.flatten(0, 1)[:, :160],) for t in every("inner")]


def tanh_form(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


SUBJECTS = (
    Subject("gelu", "pointwise", "aten.gelu.default", _inner),
    Subject("gelu tanh", "pointwise", tanh_form, _inner),
)


def gelu(x: Tensor, *, erf: Callable[[Tensor], Tensor] = torch.erf, cut: float = -math.inf) -> Tensor:
    """x/2 (1 + erf(x / sqrt 2)); zero below `cut`."""
    wide = x.float()
    y = 0.5 * wide * (1 + erf(wide * math.sqrt(0.5)))
    return torch.where(wide < cut, 0.0, y).to(x.dtype)


def gelu_in_storage(x: Tensor) -> Tensor:
    """Every intermediate in the tensor's own dtype."""
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def gelu_by_erfc(x: Tensor) -> Tensor:
    """x/2 erfc(-x / sqrt 2) keeps the negative tail."""
    wide = x.float()
    return (0.5 * wide * torch.erfc(wide * -math.sqrt(0.5))).to(x.dtype)


def gelu_by_tanh(x: Tensor, *, tanh: Callable[[Tensor], Tensor] = torch.tanh, factor: float = 0.044715) -> Tensor:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016)."""
    wide = x.float()
    return (0.5 * wide * (1 + tanh(math.sqrt(2 / math.pi) * wide * (1 + factor * wide * wide)))).to(x.dtype)


def gelu_by_sigmoid(x: Tensor) -> Tensor:
    """The tanh form as x sigmoid(2y)."""
    wide = x.float()
    return (wide / (1 + torch.exp(-2 * math.sqrt(2 / math.pi) * wide * (1 + 0.044715 * wide * wide)))).to(x.dtype)


def _unlimited(y: Tensor) -> Tensor:
    return tanh_by_expm1(y, limit=math.inf)


def _two_exponentials(y: Tensor) -> Tensor:
    """Overflows at 88, which |x| = 13 reaches."""
    up, down = torch.exp(y), torch.exp(-y)
    return (up - down) / (up + down)


def _two_half_exponentials(y: Tensor) -> Tensor:
    """Overflows at 11, which |x| = 5 reaches."""
    return _two_exponentials(y.half()).float()


def short_erf(x: Tensor) -> Tensor:
    """Abramowitz and Stegun 7.1.25, good to 2.5e-5."""
    t = 1 / (1 + 0.47047 * x.abs())
    return torch.copysign(1 - t * (0.3480242 + t * (-0.0958798 + t * 0.7478556)) * torch.exp(-x * x), x)


FAULTS = (
    Fault(
        "gelu tanh form for exact", "gelu", gelu_by_tanh, gelu,
        origin="https://github.com/NVIDIA/TileGym/pull/197", dtypes=ALL,
    ),
    Fault(
        "gelu exact for tanh form", "gelu tanh", gelu, gelu_by_tanh,
        origin="https://github.com/kyutai-labs/pocket-tts/pull/278", dtypes=ALL,
    ),
    Fault(
        "gelu by short erf", "gelu", lambda x: gelu(x, erf=short_erf), gelu,
        origin="Abramowitz and Stegun 7.1.25 taken for 7.1.26",
    ),
    Fault(
        "gelu cut at -4", "gelu", lambda x: gelu(x, cut=-4.0), gelu,
        origin="tt-metal issue 5578: the negative tail is zero", reveals="activations",
    ),
    Fault(
        "gelu in bfloat16", "gelu", gelu_in_storage, gelu,
        origin="https://github.com/NVIDIA/TileGym/pull/197", dtypes=("bfloat16",),
    ),
    Fault(
        "gelu tanh by exp overflows", "gelu tanh",
        lambda x: gelu_by_tanh(x, tanh=_unlimited), lambda x: gelu_by_tanh(x, tanh=tanh_by_expm1),
        origin="https://github.com/intel/llm-scaler/pull/484", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "gelu tanh by two exponentials", "gelu tanh",
        lambda x: gelu_by_tanh(x, tanh=_two_exponentials), lambda x: gelu_by_tanh(x, tanh=tanh_by_two_exponentials),
        origin="https://github.com/pytorch/executorch/pull/22324", reveals="activations", dtypes=ALL,
    ),
    Fault(
        "gelu tanh by half exponentials", "gelu tanh",
        lambda x: gelu_by_tanh(x, tanh=_two_half_exponentials),
        lambda x: gelu_by_tanh(x, tanh=tanh_by_two_exponentials),
        origin="https://github.com/pytorch/executorch/pull/22324, on a driver whose half exp is narrow",
        reveals="activations", dtypes=("float16",),
    ),
    Fault(
        "gelu tanh short factor", "gelu tanh", lambda x: gelu_by_tanh(x, factor=0.0447), gelu_by_tanh,
        origin="0.044715 typed with three digits",
    ),
)  # fmt: skip

CONTROLS = (
    Control("gelu torch", "gelu", F.gelu, dtypes=ALL),
    Control("gelu tanh torch", "gelu tanh", tanh_form, dtypes=ALL),
    Control("gelu by erfc", "gelu", gelu_by_erfc, dtypes=ALL),
    Control("gelu tanh by sigmoid", "gelu tanh", gelu_by_sigmoid, dtypes=ALL),
)
