"""Attendance of the candidates on other machines, as all workers of a campaign together see it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator

from tapml_fuzz.core.events import PlatformLost, PlatformReturned
from tapml_fuzz.engine.trial import Trial


class Attendance:
    """A candidate is lost when the first worker misses it, and back when no worker does; safe to use from several."""

    def __init__(self, candidates: Collection[str]) -> None:
        self._candidates = candidates
        self._missed_by: defaultdict[str, set[int]] = defaultdict(set)
        self._lock = threading.Lock()

    def noted(self, worker: int, trial: Trial) -> Iterator[PlatformLost | PlatformReturned]:
        """Take note of who answered in a trial of all candidates; what is new about that."""
        for name in self._candidates:
            with self._lock:
                missed_by = self._missed_by[name]
                before = bool(missed_by)
                (missed_by.add if name in trial.missed else missed_by.discard)(worker)
                after = bool(missed_by)
            if after and not before:
                yield PlatformLost(name, trial.refused[name])
            if before and not after:
                yield PlatformReturned(name)
