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


def _moving(packet: str, *twins: str) -> None:
    """A rule for a packet whose first argument is the data, and for its twins, which move the same way."""
    function = getattr(torch.ops.aten, packet)

    def move(x: Tracked, *rest: Any, **options: Any) -> Any:
        options.pop("memory_format", None)
        return movement.moved(function, x, *rest, **options)

    rule(*(f"aten.{name}" for name in (packet, *twins, *_ALIASES.get(packet, ()))))(move)


for _packet in _VIEWS:
    # A view's `_copy` twin gives the same elements. Of others it is another operator: index_copy writes.
    _moving(_packet, *(name for name in (f"{_packet}_copy",) if hasattr(torch.ops.aten, name)))
for _packet in _DATA_FIRST:
    _moving(_packet)


_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@rule("aten.view.dtype", "aten.view_copy.dtype")
def reinterpreted(x: Tracked, dtype: torch.dtype) -> Tracked:
    """The same bits as another dtype: exact, but for those that rounding decides and those of a NaN, which has many."""
    bits = x.value.to(x.storage_dtype) if x.is_floating else x.value
    value = bits.view(dtype)
    unknown = torch.isnan(bits) | (movement.dense_error(x) > 0)
    error = None
    if bool(unknown.any()):
        touched = -unknown.to(_OF_SIZE[bits.element_size()])
        error = torch.where(touched.view(_OF_SIZE[value.element_size()]) != 0, torch.inf, 0.0).double()
    if not dtype.is_floating_point:
        return Tracked(value, x.arithmetic, error)
    return Tracked(value.to(torch.float64), x.arithmetic, error, storage_dtype=dtype)


@rule("aten.cat", "aten.concat", "aten.concatenate")
def cat(tensors: list[Tracked], dim: int = 0) -> Tracked:
    """Tensors one after the other along `dim`."""
    # torch still accepts empty one-dimensional tensors among others (a legacy of its first versions).
    return movement.merged(lambda parts: torch.cat(list(parts), dim), tensors)


@rule("aten.stack")
def stack(tensors: list[Tracked], dim: int = 0) -> Tracked:
    """Tensors side by side along a new axis."""
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
