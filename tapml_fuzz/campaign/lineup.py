"""The platforms of a campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.platforms.base import Info


@dataclass(frozen=True)
class Lineup:
    """The platforms that take part, and how a worker gets a runner of them.

    Attributes:
        reference: the name of the reference platform.
        infos: what every platform says of itself by name, the reference platform's among them.
        make_runner: a runner of its own for each worker that asks.
    """

    reference: str
    infos: Mapping[str, Info]
    make_runner: Callable[[], DifferentialRunner]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names of all but the reference platform."""
        return tuple(name for name in self.infos if name != self.reference)
