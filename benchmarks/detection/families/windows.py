"""Windows of a picture: what convolutions and pooling look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def windows(
    x: Tensor,
    counts: Sequence[int],
    kernel: Sequence[int],
    step: Sequence[int],
    before: Sequence[int],
    spread: Sequence[int],
    outside: float,
) -> Tensor:
    """x [b, c, h, w] as [b, c, rows, kernel rows, columns, kernel columns].

    Window (r, s) starts at (r, s) * step - before, its elements lie `spread` apart, and beyond the border it holds
    `outside`.
    """
    for axis, at in enumerate((2, 4)):  # the second axis comes behind the first one's two
        extent, (left, right) = x.shape[at], (x.shape[:at], x.shape[at + 1 :])
        place = torch.arange(counts[axis])[:, None] * step[axis] - before[axis]
        place = place + torch.arange(kernel[axis]) * spread[axis]
        inside = (place >= 0) & (place < extent)
        # One more element at the end stands for everything outside.
        padded = torch.cat([x, x.new_full((*left, 1, *right), outside)], at)
        taken = padded.index_select(at, place.where(inside, torch.tensor(extent)).reshape(-1))
        x = taken.reshape(*left, *place.shape, *right)
    return x
