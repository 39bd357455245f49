"""The bench: one case goes to the source platform and to every candidate, and comes back judged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import BuildError, Ok, RunError, RunOutcome, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Kind, Verdict
from tapml_fuzz.judge import judge, judge_pair
from tapml_fuzz.oracle import Truth, truth
from tapml_fuzz.platforms.base import Info, Script

# One passing case in this many is run a second time, to see whether the platform repeats itself.
REPEAT_EVERY = 16


class Session(Protocol):
    """A platform ready to run cases: isolated in a worker, or in this process."""

    builds: int
    build_seconds: float

    def info(self) -> Info: ...
    def run(self, case: Case) -> RunOutcome: ...
    def script(self, case: Case) -> Script | None: ...
    def close(self) -> None: ...


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
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Result:
    """One platform's part of a trial."""

    platform: str
    case: Case
    verdict: Verdict
    outcome: RunOutcome
    truth: Truth


@dataclass
class Bench:
    """Sessions of the source platform and of the candidates, with the time they took.

    Running a case on it is a *trial* per candidate. Candidates run side by side: each has a worker of its own. With
    `doubt_reference` a source platform outside the bound is a result too; without, it only keeps the candidates from
    being blamed.
    """

    reference_name: str
    reference: Session
    candidates: Mapping[str, Session]
    doubt_reference: bool = True
    times: Times = field(default_factory=Times)
    _runs: int = 0
    _pool: ThreadPoolExecutor | None = field(default=None, repr=False)
    _policies: dict[str, Policy] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.candidates) > 1:
            self._pool = ThreadPoolExecutor(len(self.candidates), thread_name_prefix="candidate")

    def trial(self, case: Case, only: str | None = None) -> list[Result]:
        """Judged results, one per candidate that could run the case (and one for a source platform in doubt).

        Empty when the source platform itself rejects the case, which makes it no case. `only` restricts the run to
        one platform (a candidate, or the source platform alone).
        """
        reference = self._timed_reference(case)
        if isinstance(reference, RunError | Unsupported | BuildError):
            return []
        began = time.perf_counter()
        expected = truth(case.operator, case.tensors, case.sizes)
        doubt = judge(case, reference, expected)
        self.times.oracle += time.perf_counter() - began
        results = []
        if doubt.failed and self.doubt_reference and only in (None, self.reference_name):
            kind: Kind | None = "reference-suspect" if isinstance(reference, Ok) else doubt.kind
            results.append(Result(self.reference_name, case, _with_kind(doubt, kind), reference, expected))
        names = [n for n in self.candidates if only in (None, n)]
        usable = reference if isinstance(reference, Ok) else None
        for name, outcome in zip(names, self._run_candidates(names, case), strict=True):
            if isinstance(outcome, Unsupported):
                continue
            began = time.perf_counter()
            verdict = self._judged(name, case, outcome, usable, expected, doubt)
            self.times.oracle += time.perf_counter() - began
            if verdict.kind != "reference-suspect":  # already said, of the source platform
                results.append(Result(name, case, verdict, outcome, expected))
        return results

    def _judged(
        self, name: str, case: Case, outcome: RunOutcome, reference: Ok | None, expected: Truth, doubt: Verdict
    ) -> Verdict:
        policy = self.policy(name)
        if doubt.failed and reference is not None:
            return judge_pair(case, outcome, reference, expected, policy)
        verdict = judge(case, outcome, expected, reference=reference, policy=policy)
        self._runs += 1
        if isinstance(outcome, Ok) and (verdict.failed or self._runs % REPEAT_EVERY == 0):
            again = self.candidates[name].run(case)
            if not _same(outcome, again):
                return Verdict("nondeterministic", "two runs of one case differ", verdict.metrics)
        return verdict

    def script(self, platform: str, case: Case) -> Script | None:
        """The platform's part of a standalone reproducer; None where it has none."""
        session = self.reference if platform == self.reference_name else self.candidates[platform]
        with self.reducing():
            return session.script(case)

    def policy(self, name: str) -> Policy:
        if name not in self._policies:
            self._policies[name] = self.candidates[name].info().policy or Policy()
        return self._policies[name]

    def _timed_reference(self, case: Case) -> RunOutcome:
        began, built = time.perf_counter(), self.reference.build_seconds
        outcome = self.reference.run(case)
        building = self.reference.build_seconds - built
        self.times.build += building
        self.times.reference += time.perf_counter() - began - building
        return outcome

    def _run_candidates(self, names: Sequence[str], case: Case) -> list[RunOutcome]:
        sessions = [self.candidates[n] for n in names]
        began, built = time.perf_counter(), [s.build_seconds for s in sessions]
        if self._pool is None or len(sessions) < 2:
            outcomes = [s.run(case) for s in sessions]
        else:
            outcomes = list(self._pool.map(lambda s: s.run(case), sessions))
        # Side by side, the wall clock pays for the longest build only.
        building = max((s.build_seconds - b for s, b in zip(sessions, built, strict=True)), default=0.0)
        self.times.build += building
        self.times.candidate += time.perf_counter() - began - building
        return outcomes

    @contextmanager
    def reducing(self) -> Iterator[None]:
        """Book whatever runs inside as time spent on reduction."""
        kept, self.times = self.times, Times()
        began = time.perf_counter()
        try:
            yield
        finally:
            self.times = kept
            self.times.reduce += time.perf_counter() - began

    @property
    def builds(self) -> int:
        return sum(s.builds for s in self.candidates.values())

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for session in (self.reference, *self.candidates.values()):
            session.close()


def _with_kind(verdict: Verdict, kind: Kind | None) -> Verdict:
    return msgspec.structs.replace(verdict, kind=kind)


def _same(first: Ok, second: RunOutcome) -> bool:
    """Whether two runs gave the same values (NaN equals NaN)."""
    return isinstance(second, Ok) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fV")
        for a, b in zip(first.outputs, second.outputs, strict=True)
    )
