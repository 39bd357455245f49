"""How far a correct platform may be from the source run, at every value of a model.

One call's error bound E is the oracle's (ORACLE: a running error analysis in float64). Carried through a whole model
by absolute values it would grow with every matrix product by the sum of a row's magnitudes, and say nothing after two
layers. So it is carried as random errors are: the model runs in float64 a few times, each time with every call's
result moved within its own E, and how far those runs spread is how far errors of that size reach. This is Monte Carlo
arithmetic (D. S. Parker, "Monte Carlo Arithmetic", UCLA CSD-970002, 1997) with the oracle's bounds in place of half
units in the last place. Half of the draws move each element its own way, as roundings do, and half move all elements
of a call the same way, as a biased function does.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import TapmlFuzzError
from tapml_fuzz.offload.recording import Recording, Step
from tapml_fuzz.operators import invoke
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.oracle import Truth, truth

_DRAWS = 6
# Spreads are estimated from few draws: four of them hold every element of a normally distributed error that matters
# (two-sided 6e-5 of one that fills E entirely; correct platforms use a tenth of it, see docs/offloading.md).
_SPREADS = 4.0


@dataclass(frozen=True)
class Tolerances:
    """Per value of a recording: how far a platform's may be from the source run's.

    Attributes:
        truths: the oracle's answer to every step alone, on what the source run gave it; none where it has none.
        propagated: per value, the distance allowed, float64 of the value's shape; infinite elements are unjudged.
            None stands for "equal": nothing before it rounds.
    """

    truths: Mapping[str, Truth]
    propagated: Mapping[str, Array | None] = field(repr=False)

    def ratio(self, name: str, actual: Array, source: Array) -> tuple[float, int]:
        """The worst |actual - source| over what is allowed, and the flat index where; infinite where none is."""
        if actual.shape != source.shape:
            return np.inf, -1
        if actual.size == 0:
            return 0.0, -1
        allowed = self.propagated[name]
        one, other = np.asarray(actual, np.float64), np.asarray(source, np.float64)
        with np.errstate(all="ignore"):
            apart = np.abs(one - other)
        apart[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
        apart[np.isnan(apart)] = np.inf
        limit = np.zeros(()) if allowed is None else allowed
        with np.errstate(all="ignore"):
            ratios = np.where(apart > 0, apart / limit, 0.0)
        ratios[np.isinf(np.broadcast_to(limit, ratios.shape))] = 0.0
        worst = int(ratios.argmax())
        return float(ratios.reshape(-1)[worst]), worst


def tolerances(recording: Recording, carried: Mapping[str, Array | None] | None = None, seed: int = 0) -> Tolerances:
    """Tolerances of a recording; `carried` are those of its inputs that the recording before has made."""
    truths = {step.name: found for step in recording.steps if (found := _truth(recording, step)) is not None}
    plain = _Run(recording, truths, carried or {}, None)
    draws = [_Run(recording, truths, carried or {}, (seed, n, n % 2 == 1)) for n in range(_DRAWS)]
    lost = _Run(recording, truths, carried or {}, "unjudged") if _any_unjudged(truths) else None
    propagated: dict[str, Array | None] = {}
    for step in recording.steps:
        values = plain.step(step)
        moved = [draw.step(step) for draw in draws]
        gone = lost.step(step) if lost is not None else None
        for i, name in enumerate(step.outputs):
            own = truths[step.name].bounds[i] if step.name in truths else None
            source = to_numpy(recording.values[name])
            allowed = _allowed(values[i], [m[i] for m in moved], own, source)
            if gone is not None and allowed is not None:
                allowed = np.where(torch.isnan(gone[i].double()).numpy(), np.inf, allowed)
            propagated[name] = allowed
    return Tolerances(truths, propagated)


def _truth(recording: Recording, step: Step) -> Truth | None:
    case = recording.case(step)
    try:
        return truth(step.operator, case.tensors, step.sizes)
    except (TapmlFuzzError, RuntimeError, ValueError, IndexError):  # no truth (random), or torch's CPU rejects it
        return None


def _any_unjudged(truths: Mapping[str, Truth]) -> bool:
    return any(t.unjudged for t in truths.values())


def _allowed(plain: torch.Tensor, moved: list[torch.Tensor], own: Array | None, source: Array) -> Array | None:
    """From the spread of the draws: an element's own, or its row's or channel's where that is wider."""
    values = plain.double()
    apart = torch.stack([(m.double() - values).abs() for m in moved])
    same = torch.stack([(m == plain) | (m.isnan() & plain.isnan()) for m in moved])
    apart[same] = 0.0
    if own is None and not bool(apart.any()):
        return None
    if not plain.is_floating_point():
        return torch.where(apart.amax(0) > 0, torch.inf, 0.0).numpy()  # an integer that hangs on a rounding
    spread = _SPREADS * _pooled(apart.square().mean(0))
    # Twice: the source run has errors of its own. And both round what they store.
    grid = dtypes.unit_roundoff(dtypes.name_of(source)) if dtypes.is_float(dtypes.name_of(source)) else 0.0
    allowed = 2 * (spread + grid * values.abs() + (0 if own is None else torch.from_numpy(own)))
    return torch.where(torch.isnan(allowed), torch.inf, allowed).numpy()


def _pooled(square: torch.Tensor) -> torch.Tensor:
    """The root mean square of each element, its row and its channel, whichever is largest."""
    if square.ndim < 2:
        return square.mean().expand_as(square).maximum(square).sqrt()
    rows = square.mean(-1, keepdim=True)
    channels = square.reshape(-1, square.shape[-1]).mean(0)
    return square.maximum(rows).maximum(channels).sqrt()


class _Run:
    """The recording in float64, one step at a time, with every result moved within its bound (or not)."""

    def __init__(
        self,
        recording: Recording,
        truths: Mapping[str, Truth],
        carried: Mapping[str, Array | None],
        draw: tuple[int, int, bool] | str | None,
    ) -> None:
        self._recording, self._truths, self._draw = recording, truths, draw
        self._values: dict[str, torch.Tensor] = {}
        for name, allowed in carried.items():
            value = _wide(recording.given[name])
            self._values[name] = value if allowed is None else self._moved(name, value, torch.from_numpy(allowed) / 2)

    def step(self, step: Step) -> list[torch.Tensor]:
        inputs = [self._values[n] if n in self._values else _wide(self._recording.given[n]) for n in step.inputs]
        results = [_wide(r) for r in self._called(step, inputs)]
        found = self._truths.get(step.name)
        for i, name in enumerate(step.outputs):
            bound = found.bounds[i] if found is not None else None
            if bound is not None and results[i].is_floating_point():
                results[i] = self._moved(name, results[i], torch.from_numpy(np.ascontiguousarray(bound)))
            self._values[name] = results[i]
        return results

    def _called(self, step: Step, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            try:
                return invoke.call(step.operator, inputs, step.sizes)
            except RuntimeError:  # a view of what is not packed, or an operator that takes no float64
                packed = [t.contiguous() for t in inputs]
                try:
                    return invoke.call(step.operator, packed, step.sizes)
                except RuntimeError:
                    given = [self._recording.tensor(name).dtype for name in step.inputs]
                    return invoke.call(step.operator, [t.to(d) for t, d in zip(packed, given, strict=True)], step.sizes)

    def _moved(self, name: str, value: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        if self._draw is None:
            return value
        if isinstance(self._draw, str):
            return torch.where(torch.isinf(bound), torch.nan, value)
        seed, number, together = self._draw
        random = np.random.default_rng([seed, number, zlib.crc32(name.encode())])
        direction = random.choice([-1.0, 1.0]) if together else random.uniform(-1.0, 1.0, tuple(value.shape))
        step = torch.where(torch.isfinite(bound), bound, 0.0) * torch.as_tensor(direction)
        return value + step


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
