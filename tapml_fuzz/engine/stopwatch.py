"""A stopwatch that books every second once, to what it was spent on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

Activity = Literal["generate", "reference", "candidate", "oracle", "build", "reduce"]


@dataclass
class Times:
    """Seconds spent, by what they were spent on."""

    generate: float = 0.0
    reference: float = 0.0
    candidate: float = 0.0
    oracle: float = 0.0
    build: float = 0.0
    reduce: float = 0.0

    def add(self, other: Times) -> None:
        """Add another worker's seconds to these."""
        for name in self.__dataclass_fields__:
            self._book(name, getattr(other, name))

    def _book(self, name: str, seconds: float) -> None:
        setattr(self, name, getattr(self, name) + seconds)


class Stopwatch:
    """Books wall-clock seconds of one thread.

    Bookings nest, and the seconds of an inner one are not the outer one's as well. Within a booking of `reduce`
    everything counts as reduction.
    """

    def __init__(self) -> None:
        self._times = Times()
        self._open: list[Activity] = []
        self._since = 0.0

    @property
    def times(self) -> Times:
        """The seconds booked so far, as a copy."""
        return replace(self._times)

    @contextmanager
    def booking(self, activity: Activity) -> Iterator[None]:
        """Book the time that passes inside to `activity`."""
        if self._reducing:
            yield
            return
        self._settle()
        self._open.append(activity)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def rebook(self, seconds: float, booked: Activity, spent: Activity) -> None:
        """Move seconds that have been booked to what they turned out to have been spent on."""
        if not self._reducing:
            self._times._book(booked, -seconds)
            self._times._book(spent, seconds)

    @property
    def _reducing(self) -> bool:
        return bool(self._open) and self._open[-1] == "reduce"

    def _settle(self) -> None:
        """Book the time since the last change to the innermost booking."""
        now = time.perf_counter()
        if self._open:
            self._times._book(self._open[-1], now - self._since)
        self._since = now
