"""Tolerances: the distance from the reference run that a correct platform may have, at every value of a model.

One call's error bound E is the oracle's (`tapml_fuzz.oracle`: a running error analysis in float64). Carried through a
whole model by absolute values it would grow with every matrix product by the sum of a row's magnitudes, and say nothing
after two layers. So it is carried as random errors are: the model runs in float64 a few times, each time with every
call's result moved within its own E, and how far those runs spread is how far errors of that size reach. This is Monte
Carlo arithmetic (D. S. Parker, "Monte Carlo Arithmetic", UCLA CSD-970002, 1997) with the oracle's bounds in place of
half units in the last place. Half of the draws move each element its own way, as roundings do, and half move all
elements of a call the same way, as a biased function does.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import TapmlFuzzError
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.offload.recording import RecordedStep, Recording, last_uses
from tapml_fuzz.operators import invoke
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.oracle import Truth, truth

# Each draw is one run of the model in float64. Half of six move elements apart and half together.
_DRAWS = 6
# Spreads are estimated from few draws: four of them hold every element of a normally distributed error that matters
# (two-sided 6e-5 of one that fills E entirely; correct platforms use a tenth of it, see docs/reference/offloading.md).
_SPREADS = 4.0
# Numbers this many times the median magnitude of a tensor are no measure of what its other numbers may be away: those
# of a mask beside logits of order one (`core.profile.MASKED_BELOW`).
_MASKS = 1e4


@dataclass(frozen=True)
class Tolerances:
    """Per value of a recording: how far a platform's may be from the reference run's.

    Attributes:
        propagated: per value, the distance allowed, float64 of the value's shape; infinite elements are unjudged.
            None stands for "equal": nothing before it rounds.
        ends: what each of the runs in float64 gave for the recording's outputs, for one that carries on from them.
    """

    propagated: Mapping[str, Array | None] = field(repr=False)
    ends: Mapping[str, Sequence[torch.Tensor]] = field(default_factory=dict, repr=False)

    def ratio(self, name: str, actual: Array, reference: Array) -> tuple[float, int]:
        """The worst |actual - reference| over what is allowed, and the flat index where; infinite where none is."""
        if actual.shape != reference.shape:
            return np.inf, -1
        if actual.size == 0:
            return 0.0, -1
        allowed = self.propagated[name]
        if actual.dtype.kind in "iub":  # as they are: a float holds no 64-bit integer
            differs = (actual != reference) & (True if allowed is None else np.isfinite(allowed))
            return (np.inf, int(differs.argmax())) if differs.any() else (0.0, -1)
        wide = np.float64 if actual.dtype == np.float64 else np.float32
        one: Array = actual.astype(wide, copy=False)
        other: Array = reference.astype(wide, copy=False)
        with np.errstate(all="ignore"):
            apart = np.abs(one - other)
            # Equal infinities and two NaNs are no distance; anything else that gives NaN is the longest.
            if not np.isfinite(apart).all():
                apart[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
                apart[np.isnan(apart)] = np.inf
            if not apart.any():
                return 0.0, -1
            if allowed is None:
                return np.inf, int(apart.argmax())
            ratios = np.where((apart > 0) & np.isfinite(allowed), apart / allowed, 0.0)
        worst = int(ratios.argmax())
        return float(ratios.reshape(-1)[worst]), worst


def tolerances(
    recording: Recording,
    policy: Policy,
    carried: Mapping[str, Sequence[torch.Tensor]] | None = None,
    seed: int = 0,
) -> Tolerances:
    """Tolerances of a recording on a platform with that policy: what its specification allows is no failure.

    `carried` are the `ends` of the recording before that this one has as inputs: each run goes on with its own, so an
    error made in a prefill reaches a decode step as the error that it is.
    """
    draws: list[_Draw | _Still | _Lost] = [_Draw(seed, n, together=n % 2 == 1) for n in range(_DRAWS)]
    runs = [
        _Run(recording, {name: ends[number] for name, ends in (carried or {}).items()}, draw)
        for number, draw in enumerate([_STILL, *draws, _LOST])
    ]
    propagated: dict[str, Array | None] = {}
    for step, gone in zip(recording.steps, last_uses(recording), strict=True):
        own = truth_of(recording, step, policy)
        bounds = own.bounds if own is not None else (None,) * len(step.outputs)
        given = {name: _wide(recording.given[name]) for name in step.inputs if name in recording.given}
        values, *moved, unjudged = (run.step(step, bounds, given) for run in runs)
        shown = _moved_along(step, propagated)
        for i, name in enumerate(step.outputs):
            allowed = (
                shown
                if shown is not None
                else _allowed(values[i], [m[i] for m in moved], bounds[i], to_numpy(recording.values[name]))
            )
            if shown is None and allowed is not None and unjudged[i].is_floating_point():
                spoilt = torch.isnan(unjudged[i]) & ~torch.isnan(values[i])
                allowed[spoilt.numpy()] = np.inf
            propagated[name] = allowed
        for run in runs:
            run.forget(gone)
    return Tolerances(propagated, {name: [run.value(name) for run in runs] for name in recording.outputs})


def truth_of(recording: Recording, step: RecordedStep, policy: Policy) -> Truth | None:
    """The oracle's answer to a step on what the reference run gave it; None where it has none."""
    case = recording.case(step)
    try:
        return truth(step.operator, case.tensors, step.sizes, accuracy=policy.accuracy, flush=policy.flushes_subnormals)
    except (TapmlFuzzError, RuntimeError, ValueError, IndexError):  # random, or torch's CPU rejects it
        return None


def _moved_along(step: RecordedStep, allowed: Mapping[str, Array | None]) -> Array | None:
    """The tolerance of the one value that a step only shows in another shape, shown likewise; None for other steps."""
    own = allowed.get(step.inputs[0])
    if own is None or len(step.inputs) > 1 or not _only_moves(step.operator.name):
        return None
    with torch.no_grad():
        return to_numpy(invoke.call(step.operator, [torch.from_numpy(own)], step.sizes)[0])


@cache
def _only_moves(name: str) -> bool:
    schema = getattr(invoke.resolve(name), "_schema", None)
    views = schema is not None and any(r.alias_info is not None for r in schema.returns)
    return views or name == "aten.clone.default"


def _allowed(plain: torch.Tensor, moved: list[torch.Tensor], own: Array | None, reference: Array) -> Array | None:
    """From the spread of the draws: an element's own, or its row's or channel's where that is wider."""
    if not plain.is_floating_point():
        changed = torch.stack([m != plain for m in moved]).any(0)  # an integer that hangs on a rounding
        return torch.where(changed, torch.inf, 0.0).double().numpy() if bool(changed.any()) else None
    square = torch.zeros_like(plain)
    finite = bool(torch.isfinite(plain).all())
    for m in moved:
        apart = m - plain
        if not finite:
            apart[(m == plain) | (m.isnan() & plain.isnan())] = 0.0
        square.addcmul_(apart, apart)
    if own is None and not bool(square.any()):
        return None
    return carried_to(plain, square.div_(len(moved)), own, dtypes.name_of(reference))


def carried_to(plain: torch.Tensor, square: torch.Tensor, own: Array | None, name: str) -> Array:
    """The distance allowed at a value of the dtype `name`, from its mean square over the draws and its call's own."""
    allowed = _pooled(square, plain).mul_(_SPREADS)
    if own is not None:
        allowed += torch.from_numpy(own)
    # Both platforms round what they store, and the reference run has errors of its own.
    allowed.addcmul_(plain.abs(), torch.tensor(dtypes.unit_roundoff(name) if dtypes.is_float(name) else 0.0).double())
    allowed *= 2
    return allowed.nan_to_num_(nan=torch.inf, posinf=torch.inf).numpy()


def _pooled(square: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """The root mean square of each element, its row and its channel, whichever is largest.

    A number that stands for a mask (-3.4e38 beside logits) has the spread of its own size and lends it to nobody.
    """
    sizes = plain.abs()
    ordinary = sizes <= _MASKS * sizes[sizes > 0].median() if bool((sizes > 0).any()) else torch.ones_like(sizes).bool()
    lent, counted = torch.where(ordinary, square, 0.0), ordinary.double()
    if square.ndim < 2:
        return (lent.sum() / counted.sum().clamp(min=1)).expand_as(square).maximum(square).sqrt()
    rows = lent.sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp(min=1)
    flat = [t.reshape(-1, square.shape[-1]).sum(0) for t in (lent, counted)]
    return square.maximum(rows).maximum(flat[0] / flat[1].clamp(min=1)).sqrt()


@dataclass(frozen=True)
class _Draw:
    """A run that moves what it computes: each element its own way, or all elements of a call `together`."""

    seed: int
    number: int
    together: bool

    def moved(self, name: str, value: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        random = np.random.default_rng([self.seed, self.number, zlib.crc32(name.encode())])
        direction = random.choice([-1.0, 1.0]) if self.together else random.uniform(-1.0, 1.0, tuple(value.shape))
        return value + torch.where(torch.isfinite(bound), bound, 0.0) * torch.as_tensor(direction)


class _Still:
    """Moves nothing."""

    def moved(self, name: str, value: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        return value


class _Lost:
    """Loses what is unjudged, so that NaN shows where it reaches."""

    def moved(self, name: str, value: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.isinf(bound), torch.nan, value)


_STILL, _LOST = _Still(), _Lost()


class _Run:
    """The recording in float64, one step at a time, with every result moved within its bound (or not)."""

    def __init__(self, recording: Recording, carried: Mapping[str, torch.Tensor], draw: _Draw | _Still | _Lost) -> None:
        self._recording, self._draw = recording, draw
        self._values = dict(carried)

    def step(
        self, step: RecordedStep, bounds: Sequence[Array | None], given: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        inputs = [self._values[n] if n in self._values else given[n] for n in step.inputs]
        results = [_wide(r) for r in self._called(step, inputs)]
        for i, (name, bound) in enumerate(zip(step.outputs, bounds, strict=True)):
            if bound is not None and results[i].is_floating_point():
                results[i] = self._draw.moved(name, results[i], torch.from_numpy(np.ascontiguousarray(bound)))
            self._values[name] = results[i]
        return results

    def value(self, name: str) -> torch.Tensor:
        return self._values[name] if name in self._values else _wide(self._recording.given[name])

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self._values.pop(name, None)

    def _called(self, step: RecordedStep, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
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


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
