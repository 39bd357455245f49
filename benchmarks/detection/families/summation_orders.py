"""Correct matrix products that add up differently, as platforms do: order, blocks, precision of the sum."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.families.matmul import HALVES, tiled
from benchmarks.detection.model import Control
from tapml_fuzz.core.dtypes import Array


def _terms(a: Array, b: Array) -> npt.NDArray[np.float32]:
    """All products, rounded to float32: [k, m, n]."""
    return a.astype(np.float32).T[:, :, None] * b.astype(np.float32)[:, None, :]


def _nothing(a: Array, b: Array) -> npt.NDArray[np.float32]:
    return np.zeros((a.shape[0], b.shape[1]), np.float32)


def sequential(a: Array, b: Array, *, step: int = 1) -> Array:
    """One product and one addition after the other, forward or backward along k."""
    terms = _terms(a, b)[::step]
    total = np.add.accumulate(terms, axis=0)[-1] if len(terms) else _nothing(a, b)
    return np.asarray(total.astype(a.dtype))


def fused(a: Array, b: Array) -> Array:
    """Fused multiply-add: products are exact, each addition rounds."""
    total = _nothing(a, b)
    for column, row in zip(a.astype(np.float64).T, b.astype(np.float64), strict=True):
        total = (total + column[:, None] * row).astype(np.float32)
    return total.astype(a.dtype)


def kahan(a: Array, b: Array) -> Array:
    """Compensated addition (Kahan 1965), which is not for infinities: those are added as they are."""
    total, lost, terms = _nothing(a, b), _nothing(a, b), _terms(a, b)
    for product in terms:
        term = product - lost
        grown = total + term
        total, lost = grown, (grown - total) - term
    plain = np.add.accumulate(terms, axis=0)[-1] if len(terms) else total
    return np.where(np.isfinite(plain), total, plain).astype(a.dtype)


def split(a: Tensor, b: Tensor) -> Tensor:
    """Split-K: four parts, whose partial products go through a workspace."""
    bounds = [a.shape[1] * n // 4 for n in range(5)]
    parts = [a[:, i:j].float() @ b[i:j].float() for i, j in pairwise(bounds)]
    return torch.stack(parts).sum(0).to(a.dtype)


def tree(a: Array, b: Array) -> Array:
    """Additions pair by pair over all products."""
    terms = _terms(a, b)
    while len(terms) > 1:
        half = len(terms) // 2
        terms = np.concatenate([terms[:half] + terms[half : 2 * half], terms[2 * half :]])
    return (terms[0] if len(terms) else _nothing(a, b)).astype(a.dtype)


CONTROLS = (
    Control("mm sequential", "mm", sequential, arrays="numpy", dtypes=HALVES),
    Control("mm reversed", "mm", lambda a, b: sequential(a, b, step=-1), arrays="numpy", dtypes=HALVES),
    Control("mm fused multiply-add", "mm", fused, arrays="numpy", dtypes=HALVES),
    Control("mm Kahan", "mm", kahan, arrays="numpy"),
    Control("mm split-K", "mm", split, dtypes=HALVES),
    Control("mm in a tree", "mm", tree, arrays="numpy"),
    Control("mm tiles of 16", "mm", lambda a, b: tiled(a, b, tile=16), dtypes=HALVES),
    Control("mm of torch in half precision", "mm", torch.mm, dtypes=("float16", "bfloat16")),
    Control("bmm of torch in half precision", "bmm", torch.bmm, dtypes=("float16", "bfloat16")),
    Control("linear of torch in half precision", "linear", torch.nn.functional.linear, dtypes=("float16", "bfloat16")),
)
