"""softmax, log_softmax and logsumexp, decomposed the stable way: the maximum is subtracted first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle import reductions as r
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.reductions import amax
from tapml_fuzz.oracle.tracked import Tracked

Dims = int | Sequence[int]


@rule("aten._softmax", "aten.softmax", "aten._safe_softmax")
def softmax(x: Tracked, dim: int, *_: Any, **__: Any) -> Tracked:
    """exp(x - max) over its sum along `dim`."""
    x = e.floating(x, x.arithmetic)
    powers = e.store_intermediate(f.exp(e.sub(x, amax(x, dim, keepdim=True))), x)
    return e.div(powers, _sum_of_powers(powers, x, dim))


@rule("aten._log_softmax", "aten.log_softmax")
def log_softmax(x: Tracked, dim: int, *_: Any, **__: Any) -> Tracked:
    """x - max - log(sum of exp(x - max)) along `dim`."""
    x = e.floating(x, x.arithmetic)
    shifted = e.store_intermediate(e.sub(x, amax(x, dim, keepdim=True)), x)
    return e.sub(shifted, e.store_intermediate(f.log(_sum_of_powers(f.exp(shifted), x, dim)), x))


@rule("aten.logsumexp")
def logsumexp(x: Tracked, dim: Dims, keepdim: bool = False) -> Tracked:
    """max + log(sum of exp(x - max)) over axes."""
    x = e.floating(x, x.arithmetic)
    # An infinite maximum is not subtracted: inf - inf would hide the answer, which is that infinity.
    peak = amax(x, dim, keepdim=True)
    peak = replace(peak, value=torch.where(torch.isinf(peak.value), 0.0, peak.value))
    powers = e.store_intermediate(f.exp(e.store_intermediate(e.sub(x, peak), x)), x)
    result = e.add(e.store_intermediate(f.log(_sum_of_powers(powers, x, dim)), x), peak)
    return r.squeezed(result, r.axes(dim, x.value.ndim), keepdim)


def _sum_of_powers(powers: Tracked, x: Tracked, dim: Dims) -> Tracked:
    """The sum of exp(x - max), its axes kept, with the rescalings that computing it in one pass takes."""
    total = e.store_intermediate(r.total(powers, dim, keepdim=True), x)
    axes = r.axes(dim, x.value.ndim)
    if len(axes) != 1 or total.error is None or powers.value.numel() == 0:
        return total
    units = 2 * x.arithmetic.accuracy.of("exp").ulp + 1
    rescaled = _rescalings(x.value, axes[0])
    return total.with_error(torch.add(total.error, rescaled, alpha=units * x.arithmetic.roundoff))


def _rescalings(x: Tensor, dim: int) -> Tensor:
    """The terms that the online algorithm (Milakov and Gimelshein 2018) multiplies anew, summed over its new maxima.

    At a new maximum in place k the sum so far is scaled down, one exp and one product. It holds k terms of at most
    exp(old maximum - last maximum), measured in the units of the final sum. On a rising row that is every term.
    """
    moved = x.movedim(dim, -1)
    rows = moved.reshape(-1, moved.shape[-1]).numpy()  # a tensor of one axis is one row
    with np.errstate(invalid="ignore", over="ignore"):
        peaks = np.maximum.accumulate(rows, axis=-1)
        owner, places = np.nonzero(peaks[:, 1:] > peaks[:, :-1])
        held = (places + 1) * np.exp(peaks[owner, places] - peaks[owner, -1])
    summed = np.bincount(owner, np.nan_to_num(held), len(rows))
    return torch.from_numpy(summed).reshape(*moved.shape[:-1], 1).movedim(-1, dim)
