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
    "alias", "chunk", "clone", "contiguous", "detach", "diagonal", "expand", "flatten", "flip", "lift_fresh",
    "movedim", "narrow", "permute", "repeat", "reshape", "roll", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "tile", "transpose", "tril", "triu", "unbind", "unflatten", "unfold", "unsqueeze", "view",
)  # fmt: skip

# Other names of the same movement.
_ALIASES = {"view": ("_unsafe_view", "_reshape_copy"), "index": ("_unsafe_index",)}

_DATA_FIRST = ("embedding", "gather", "index", "index_select", "take", "take_along_dim")


def _moving(packet: str) -> None:
    """A rule for a packet whose first argument is the data; its `_copy` twin moves the same way."""
    function = getattr(torch.ops.aten, packet)

    def move(x: Tracked, *rest: Any, **options: Any) -> Any:
        options.pop("memory_format", None)
        return movement.moved(function, x, *rest, **options)

    twins = (f"{packet}_copy",) if hasattr(torch.ops.aten, f"{packet}_copy") else ()
    rule(*(f"aten.{name}" for name in (packet, *twins, *_ALIASES.get(packet, ()))))(move)


for _packet in (*_VIEWS, *_DATA_FIRST):
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
