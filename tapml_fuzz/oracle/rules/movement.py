"""Views, copies and rearrangements: exact."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked

_VIEWS = (
    "alias", "clone", "contiguous", "detach", "diagonal", "diagonal_copy", "expand", "expand_copy", "flip",
    "lift_fresh", "lift_fresh_copy", "movedim", "narrow", "permute", "permute_copy", "repeat", "reshape", "roll",
    "rot90", "select", "select_copy", "slice", "slice_copy", "split", "split_copy", "split_with_sizes",
    "split_with_sizes_copy", "squeeze", "squeeze_copy", "swapaxes", "t", "t_copy", "tensor_split", "tile",
    "transpose", "transpose_copy", "tril", "triu", "unbind", "unfold", "unfold_copy", "unsqueeze",
    "unsqueeze_copy", "view", "view_copy", "_unsafe_view", "_reshape_copy", "chunk", "flatten", "unflatten",
    "expand_as", "view_as", "reshape_as", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "squeeze_",
)  # fmt: skip

_DATA_FIRST = ("embedding", "gather", "index", "index_select", "take", "take_along_dim", "_unsafe_index")


def _moving(packet: str) -> None:
    function = getattr(torch.ops.aten, packet)

    @rule(f"aten.{packet}")
    def _(x: Tracked, *rest: Any, **options: Any) -> Any:
        options.pop("memory_format", None)
        return movement.moved(function, x, *rest, **options)


for _packet in (*(v for v in _VIEWS if not v.endswith("_")), *_DATA_FIRST):
    _moving(_packet)


@rule("aten.cat", "aten.concat", "aten.concatenate")
def cat(tensors: list[Tracked], dim: int = 0) -> Tracked:
    # torch still accepts empty one-dimensional tensors among others (a legacy of its first versions).
    return movement.merged(lambda parts: torch.cat(list(parts), dim), tensors)


@rule("aten.stack")
def stack(tensors: list[Tracked], dim: int = 0) -> Tracked:
    return movement.merged(lambda parts: torch.stack(list(parts), dim), tensors)


@rule("aten.constant_pad_nd", "aten.pad")
def constant_pad(x: Tracked, pad: list[int], *rest: Any, value: float | None = None) -> Tracked:
    """Zero-error borders. `aten.pad` has its mode before the value."""
    mode = rest[0] if rest and isinstance(rest[0], str) else "constant"
    fill = next((r for r in reversed(rest) if isinstance(r, int | float)), 0 if value is None else value)
    if mode != "constant":
        return movement.moved(partial(torch.ops.aten.pad.default, pad=pad, mode=mode), x)  # type: ignore[no-any-return]
    number = movement.stored(fill, x)

    def padded(parts: Any) -> Tensor:
        border = number if parts[0] is x.value else 0.0
        return torch.ops.aten.constant_pad_nd.default(parts[0], pad, border)  # type: ignore[no-any-return]

    return movement.merged(padded, [x])
