"""From a failed result to a finding in the store: record, evidence, events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from tapml_fuzz.core.events import FindingFound, FindingMerged, FindingReduced, Listener
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.verdict import COMPARED
from tapml_fuzz.engine.fuzzer import Failure
from tapml_fuzz.platforms.base import Info, Reproducer
from tapml_fuzz.storage.findings import (
    Evidence,
    FindingRecord,
    FindingStore,
    finite,
    plain_metrics,
)
from tapml_fuzz.strategies import realism
from tapml_fuzz.triage.fingerprint import fingerprint_of, more_realistic

# Texts that lie beside a finding's tensors, by file name: its reproducers, the one to show first.
Writer = Callable[[FindingRecord, Evidence, Reproducer | None], Mapping[str, str]]


class Filer:
    """Files findings of one run; safe to use from several workers."""

    def __init__(
        self, store: FindingStore, run: int, listener: Listener, infos: Mapping[str, Info], writer: Writer
    ) -> None:
        self._store, self._run, self._listener, self._infos, self._writer = store, run, listener, infos, writer
        self._lock = threading.Lock()
        self._met: dict[str, FindingRecord | None] = {}
        self._old: set[str] = set()
        self.new: set[str] = set()

    def claim(self, id_: str) -> bool:
        """True for whoever meets this identity first, in this run and in the store; that one files it.

        A stored finding whose reduction was cut short is given out once more, though it is not new.
        """
        with self._lock:
            if id_ in self._met:
                return False
            known = self._store.lookup(id_)
            self._met[id_] = known
            if known is None:
                return True
            self._store.count_again(id_)
            self._old.add(id_)
            return not known.reduced

    def found(self, failure: Failure) -> None:
        """File a failure as it was found, before any reduction, so that a kill cannot lose it."""
        self._listener(FindingFound(self._put(failure.id, failure, reduced=False)))

    def reduced(self, failure: Failure) -> None:
        """File the reduced case; one that became realistic moves to the realistic finding of its kind."""
        final = fingerprint_of(failure.best, failure.seed_set) or failure.id
        if final != failure.id and not self.claim(final):
            self._forget(failure.id)
            self._listener(FindingMerged(failure.id, final))
            return
        record = self._put(final, failure, reduced=True)
        if final != failure.id:  # only now: a kill in between must not lose it
            self._forget(failure.id)
            self._listener(FindingMerged(failure.id, final))
        self._listener(FindingReduced(record))

    def met(self) -> list[FindingRecord]:
        """Every finding met in this run, in order."""
        with self._lock:
            return [record for record in self._met.values() if record is not None]

    def _forget(self, id_: str) -> None:
        with self._lock:
            self._store.remove(id_)
            self._met[id_] = None  # met, but filed elsewhere
            self.new.discard(id_)

    def _put(self, id_: str, failure: Failure, reduced: bool) -> FindingRecord:
        found, best, seed_set, recipe = failure.found, failure.best, failure.seed_set, failure.recipe
        case, verdict, info = best.case, best.verdict, self._infos.get(best.platform)
        record = FindingRecord(
            id=id_,
            platform=best.platform,
            operator=seed_set.operator.describe(),
            operator_key=seed_set.operator.key,
            kind=verdict.kind or "wrong",
            realism=more_realistic(realism(found.case, seed_set), realism(case, seed_set)),
            ratio=finite(verdict.metrics.ratio) if verdict.kind in COMPARED else None,
            message=verdict.message,
            shapes=case.shapes,
            dtypes=case.dtypes,
            elements=case.elements,
            found_elements=found.case.elements,
            metrics=plain_metrics(verdict.metrics),
            origin=found.case.origin,
            recipe=msgspec.json.encode(recipe).decode() if recipe else "",
            reduced=reduced,
            reduce_seconds=round(failure.seconds, 3),
            versions=info.versions if info else {},
            created=time.time(),
        )
        outputs = best.outcome.outputs if isinstance(best.outcome, Ok) else ()
        evidence = Evidence(case, tuple(best.truth.values), outputs, best.bounds)
        files = self._writer(record, evidence, failure.reproducer)
        first = next(iter(files), "")
        record = msgspec.structs.replace(record, reproducer=f"findings/{id_}/{first}" if first else "")
        self._store.put(record, evidence, self._run, files)
        with self._lock:
            self._met[id_] = record
            if id_ not in self._old:
                self.new.add(id_)
        return record
