"""Values that hang on weights alone: computed once for every assignment of the steps that they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tapml_fuzz.offload.recording import Recording

Homes = dict[str, tuple[Any, Any]]  # a value at every site that made it or asked for it: site name -> site, tensor


def memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """A key that two tensors share, though they may be two objects, if they are the same as long as both live."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def weight_only(recording: Recording) -> frozenset[str]:
    """The steps that hang on weights alone, and so give the same in every run.

    None of a recording that does not say what its inputs are: everything given might be one.
    """
    if not recording.inputs:
        return frozenset()
    varying = {*recording.inputs, *recording.carried}
    steps = []
    for step in recording.steps:
        if varying.isdisjoint(step.inputs):
            steps.append(step.name)
        else:
            varying.update(step.outputs)
    return frozenset(steps)


def origins(recording: Recording, sites: Mapping[str, str]) -> dict[str, str]:
    """Step that hangs on weights alone -> a hash of where its outputs come from, when every step is at its `sites`.

    That is its platform, its call, and the same of its inputs down to the weights' memory. Recordings of one model
    have weights in common, and so have origins in common.
    """
    alone = weight_only(recording)
    found: dict[str, str] = {}
    values: dict[str, str] = {}
    for step in recording.steps:
        if step.name not in alone:
            continue
        inputs = [values.get(name) or memory(recording.given[name]) for name in step.inputs]
        facts = (sites[step.name], step.operator.key, sorted(step.sizes.items()), inputs)
        found[step.name] = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
        values.update((name, f"{found[step.name]}:{number}") for number, name in enumerate(step.outputs))
    return found


class Constants:
    """Outputs of steps by their `origins`. Whatever nobody asks for is let go after two calls of `tidy`."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Recording, list[Homes]]] = {}
        self._asked: set[str] = set()
        self._asked_before: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, origin: str) -> list[Homes] | None:
        """The homes of the outputs, one by one, where whoever brings one elsewhere adds it; None if there are none."""
        if origin not in self._kept:
            return None
        self._asked.add(origin)
        return self._kept[origin][1]

    def keep(self, origin: str, recording: Recording, homes: Sequence[Homes]) -> None:
        """Keep the outputs of a step: `homes` says, one by one, where they are."""
        self._asked.add(origin)
        self._kept[origin] = recording, list(homes)  # the recording too, or its weights' memory could be another's

    def tidy(self) -> None:
        """Let go of everything that nobody has asked for since the last call but one."""
        wanted = self._asked | self._asked_before
        self._kept = {origin: kept for origin, kept in self._kept.items() if origin in wanted}
        self._asked, self._asked_before = set(), self._asked

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()
