"""Incremental runs: steps that a move has not reached are not computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.offload.recording import RecordedStep, Recording


@dataclass(frozen=True)
class PriorRun:
    """An earlier run of a recording: all that it gave.

    Attributes:
        sites: step -> the platform that it ran on.
        values: value -> what it was; never written to.
        carried: the state that the run was given in place of the recorded one.
        ratios: value -> how far it was from the reference run's, over what is allowed.
    """

    sites: Mapping[str, str]
    values: Mapping[str, Array] = field(repr=False)
    carried: Mapping[str, Array] = field(repr=False)
    ratios: Mapping[str, float] = field(repr=False)


class IncrementalRun:
    """A run beside an earlier one of the same recording: what has to run again.

    That is every step that has moved to another platform, those that it takes tensors from and those that it hands
    its own to, so that each handover which is new really happens; and whatever has other inputs, bit for bit.
    """

    def __init__(
        self, recording: Recording, sites: Mapping[str, str], prior: PriorRun | None, carried: Mapping[str, Array]
    ) -> None:
        self._prior = prior
        known = prior.carried if prior is not None else {}
        self._changed = {name for name, array in carried.items() if not same_bits(known.get(name), array)}
        self._due = frozenset[str]() if prior is None else _due(recording, sites, prior)

    def known(self, step: RecordedStep) -> list[Array] | None:
        """The step's outputs, if it need not run; None where it must."""
        if self._prior is None or step.name in self._due or not self._changed.isdisjoint(step.inputs):
            return None
        return [self._prior.values[name] for name in step.outputs]

    def given(self, step: RecordedStep, outputs: Sequence[Array]) -> list[Array]:
        """The outputs of a step that ran, the prior run's arrays in place of those that have not changed."""
        if self._prior is None:
            return list(outputs)
        every = []
        for name, array in zip(step.outputs, outputs, strict=True):
            old = self._prior.values.get(name)
            if old is not None and same_bits(old, array):
                every.append(old)
            else:
                self._changed.add(name)
                every.append(array)
        return every


def _due(recording: Recording, sites: Mapping[str, str], prior: PriorRun) -> frozenset[str]:
    maker = {name: step.name for step in recording.steps for name in step.outputs}
    moved = {step.name for step in recording.steps if prior.sites.get(step.name) != sites[step.name]}
    meeting = {step.name for step in recording.steps if any(maker.get(name) in moved for name in step.inputs)} | moved
    made_for = {maker[n] for step in recording.steps if step.name in meeting for n in step.inputs if n in maker}
    return frozenset(meeting | made_for)


def same_bits(one: Array | None, other: Array) -> bool:
    """Tell whether two packed arrays are the same, NaNs and signs of zero included."""
    return (
        one is not None
        and one.shape == other.shape
        and one.dtype == other.dtype
        and np.array_equal(to_bits(one), to_bits(other))
    )
