"""From a failed result to a finding in the store: record, evidence, events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from tapml_fuzz.core.events import FindingFound, FindingMerged, FindingReduced, Listener
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.platforms.base import Info, Reproducer
from tapml_fuzz.storage.findings import Evidence, FindingRecord, FindingStore, plain_metrics
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.triage.evidence import evidence_of, ratio_of, realism_of
from tapml_fuzz.triage.fingerprint import fingerprint_of

# Texts that lie beside a finding's tensors, by file name: its reproducers, the one to show first.
Writer = Callable[[FindingRecord, Evidence, Reproducer | None], Mapping[str, str]]


class Filer:
    """Files findings of one run; safe to use from several workers. With `tried` it is an `engine.failures.FailureSink`.

    `reference` is the platform that the candidates are compared with, `infos` what each platform says of itself.
    """

    def __init__(
        self,
        store: FindingStore,
        run: int,
        listener: Listener,
        reference: str,
        infos: Mapping[str, Info],
        writer: Writer,
    ) -> None:
        self._store, self._run, self._listener, self._writer = store, run, listener, writer
        self._reference, self._infos = reference, infos
        self._lock = threading.Lock()
        self._met: dict[str, FindingRecord | None] = {}
        self._old: set[str] = set()
        self.new: set[str] = set()

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        """See `triage.fingerprint.fingerprint_of`."""
        return fingerprint_of(result, seed_set)

    def claim(self, fingerprint: str) -> bool:
        """True for whoever meets this fingerprint first, in this run and in the store; that one files it.

        A stored finding whose reduction was cut short is given out once more, though it is not new.
        """
        with self._lock:
            if fingerprint in self._met:
                return False
            known = self._store.lookup(fingerprint)
            self._met[fingerprint] = known
            if known is None:
                return True
            self._store.count_again(fingerprint)
            self._old.add(fingerprint)
            return not known.reduced

    def found(self, failure: Failure) -> None:
        """File a failure as it was found, before any reduction, so that a kill cannot lose it."""
        self._listener(FindingFound(self._put(failure.fingerprint, failure, reduced=False)))

    def reduced(self, failure: Failure) -> None:
        """File the reduced case; one that became realistic moves to the realistic finding of its kind."""
        final = fingerprint_of(failure.best, failure.seed_set) or failure.fingerprint
        if final != failure.fingerprint and not self.claim(final):
            self._forget(failure.fingerprint)
            self._listener(FindingMerged(failure.fingerprint, final))
            return
        record = self._put(final, failure, reduced=True)
        if final != failure.fingerprint:  # only now: a kill in between must not lose it
            self._forget(failure.fingerprint)
            self._listener(FindingMerged(failure.fingerprint, final))
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
        best, seed_set, recipe = failure.best, failure.seed_set, failure.recipe
        case, verdict, info = best.case, best.verdict, self._infos.get(best.platform)
        record = FindingRecord(
            id=id_,
            platform=best.platform,
            reference=self._reference,
            operator=seed_set.operator.describe(),
            operator_key=seed_set.operator.key,
            kind=verdict.kind or "wrong",
            realism=realism_of(failure),
            ratio=ratio_of(best),
            message=verdict.message,
            shapes=case.shapes,
            dtypes=case.dtypes,
            elements=case.elements,
            found_elements=failure.found.case.elements,
            metrics=plain_metrics(verdict.metrics),
            origin=failure.found.case.origin,
            recipe=msgspec.json.encode(recipe).decode() if recipe else "",
            reduced=reduced,
            reduce_seconds=round(failure.seconds, 3),
            versions=info.versions if info else {},
            created=time.time(),
        )
        evidence = evidence_of(best)
        files = self._writer(record, evidence, failure.reproducer)
        first = next(iter(files), "")
        record = msgspec.structs.replace(record, reproducer=f"findings/{id_}/{first}" if first else "")
        self._store.put(record, evidence, self._run, files)
        with self._lock:
            self._met[id_] = record
            if id_ not in self._old:
                self.new.add(id_)
        return record
