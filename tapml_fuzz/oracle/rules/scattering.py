"""Writing into a copy: scatter, index_copy, index_put and their like. Exact unless they accumulate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked


def _writing(packet: str) -> None:
    """A rule for a packet that writes its second tensor into a copy of the first."""
    function = getattr(torch.ops.aten, packet)

    def write(x: Tracked, source: Tracked, *rest: Any, **options: Any) -> Tracked:
        return movement.merged(lambda parts: function(*parts, *rest, **options), [x, source])

    rule(f"aten.{packet}")(write)


for _packet in ("slice_scatter", "select_scatter", "diagonal_scatter"):
    _writing(_packet)


@rule("aten.scatter.value")
def scatter_value(x: Tracked, dim: int, index: Tracked, value: float) -> Tracked:
    """One number, stored in x's dtype, written at the indices along `dim`."""
    number = movement.stored(value, x)
    return movement.merged(lambda p: torch.scatter(p[0], dim, index.value, number if p[0] is x.value else 0.0), [x])


@rule("aten.scatter.src")
def scatter_source(x: Tracked, dim: int, index: Tracked, src: Tracked) -> Tracked:
    """Of several values for one place any may stay (torch: the result is nondeterministic)."""
    written = movement.merged(lambda p: torch.scatter(p[0], dim, index.value, p[1]), [x, src])
    ones = torch.ones(index.value.shape, dtype=torch.int64)
    hits = torch.zeros(written.value.shape, dtype=torch.int64).scatter_add(dim, index.value, ones)
    return _unjudged_where(written, hits > 1)


@rule("aten.index_copy")
def index_copy(x: Tracked, dim: int, index: Tracked, source: Tracked) -> Tracked:
    """Whole slices, as a static key-value cache is written. Of several for one place any may stay, as for scatter."""
    written = movement.merged(lambda p: torch.index_copy(p[0], dim, index.value, p[1]), [x, source])
    if index.error is not None and bool((index.error > 0).any()):  # rounding decided where they go
        return _unjudged_where(written, torch.ones(written.value.shape, dtype=torch.bool))
    rows = written.value.reshape(written.value.shape or (1,)).movedim(dim, -1)
    hits = torch.bincount(index.value.reshape(-1), minlength=rows.shape[-1])
    again = (hits > 1).expand(rows.shape).movedim(-1, dim).reshape(written.value.shape)
    return _unjudged_where(written, again)


def _unjudged_where(x: Tracked, places: Tensor) -> Tracked:
    if not bool(places.any()):
        return x
    kept = torch.zeros(()) if x.error is None else x.error
    return x.with_error(torch.where(places, torch.inf, kept.double()))


@rule("aten.index_put")
def index_put(x: Tracked, indices: list[Tracked | None], values: Tracked, accumulate: bool = False) -> Tracked:
    """Values written, or added, at the places that index tensors name; several writers of one place are unjudged."""
    places = [None if i is None else i.value for i in indices]

    def put(parts: Any) -> Any:
        return torch.ops.aten.index_put.default(parts[0], places, parts[1], accumulate)

    result = movement.merged(put, [x, values])
    if not accumulate:
        return _unjudged_where(result, _hits(result, places, values) > 1)
    if not result.is_floating:
        return result
    one, more = movement.alike([x, values])
    weight = put([one.value.abs(), more.value.abs()])
    hits = put([torch.zeros_like(one.value), torch.ones_like(more.value)])
    # Every addition is stored: the sum grows in memory, in the tensor's own dtype.
    stored = dtypes.unit_roundoff(str(result.storage_dtype).removeprefix("torch."))
    own = (hits.clamp_min_(1.0) * weight).mul_(max(stored, x.arithmetic.roundoff))
    return x.arithmetic.rounded(result.value, result.error, (one,), own=own, magnitude=weight)


def _hits(x: Tracked, places: list[Tensor | None], values: Tracked) -> Tensor:
    """The number of times that each element is written."""
    none, one = (torch.full((), n, dtype=torch.int64) for n in (0, 1))
    return torch.ops.aten.index_put.default(  # type: ignore[no-any-return]
        none.expand(x.value.shape).clone(), places, one.expand(values.value.shape), True
    )
