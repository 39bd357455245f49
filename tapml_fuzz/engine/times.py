"""What a campaign spends its time on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Times:
    """Seconds spent, by what they were spent on."""

    generate: float = 0.0
    reference: float = 0.0
    candidate: float = 0.0
    oracle: float = 0.0
    build: float = 0.0
    reduce: float = 0.0

    @property
    def total(self) -> float:
        return float(sum(getattr(self, name) for name in self.__dataclass_fields__))

    def add(self, other: Times) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
