"""The bench: one case goes to the reference platform and to every candidate, and comes back judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import BuildError, Ok, RunError, RunOutcome, Unreachable, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Kind, Verdict
from tapml_fuzz.engine.prefetch import Pace, prefetch, windows
from tapml_fuzz.engine.times import Times
from tapml_fuzz.judge import judge, judge_pair
from tapml_fuzz.oracle import NoAnswer, NoTruth, OracleFailure, Truth, truth
from tapml_fuzz.platforms.base import Info, Reproducer

# One passing case in this many is run a second time, to see whether the platform repeats itself.
REPEAT_EVERY = 16

_Tag = TypeVar("_Tag")


class Session(Protocol):
    """A platform ready to run cases: isolated in a worker, or in this process."""

    name: str
    builds: int
    build_seconds: float

    def info(self) -> Info: ...
    def run(self, case: Case) -> RunOutcome: ...
    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]: ...
    def reproducer(self, case: Case) -> Reproducer | None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Result:
    """One platform's part of a trial."""

    platform: str
    case: Case
    verdict: Verdict
    outcome: RunOutcome
    truth: Truth

    @property
    def bounds(self) -> tuple[Array | None, ...]:
        """The truth's error bounds; infinite for outputs of which several are right: indices, and any order."""
        outputs = zip(self.truth.values, self.truth.bounds, self.truth.several, strict=True)
        return tuple(np.full(value.shape, np.inf) if several else bound for value, bound, several in outputs)


@dataclass
class DifferentialRunner:
    """Sessions of the reference platform and of the candidates, with the time they took.

    Running a case on it is a *trial* per candidate. With `doubt_reference` a reference platform outside the bound is a
    result of its own; without, it only keeps the candidates from being blamed. With `overlap` the reference platform,
    the candidates and the oracle work at the same time, on as many cases as are known; what is booked is how long each
    was waited for.

    Attributes:
        absent: candidates whose machine does not answer now, with the first reason: later ones say that it is so.
        missed: those that did not answer the case judged last, which may have run before a machine was lost.
        refused: who could not run the case judged last, with the reason; the reference where it made it no case.
    """

    reference_name: str
    reference: Session
    candidates: Mapping[str, Session]
    doubt_reference: bool = True
    overlap: bool = True
    times: Times = field(default_factory=Times)
    absent: dict[str, str] = field(default_factory=dict)
    missed: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    _runs: int = 0
    _pace: Pace = field(default_factory=Pace, repr=False)
    _built: dict[str, float] = field(default_factory=dict, repr=False)
    _pool: ThreadPoolExecutor | None = field(default=None, repr=False)
    _policies: dict[str, Policy] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.overlap:
            self._pool = ThreadPoolExecutor(1 + len(self.candidates), thread_name_prefix="session")

    def trial(self, case: Case, only: str | None = None, *, repeat: bool = False) -> list[Result]:
        """Judged results, one per candidate that could run the case (and one for a reference platform in doubt).

        Empty when the reference platform itself rejects the case, which makes it no case. Raises `NoTruth` where the
        oracle cannot say what is right although the reference platform takes the case. `only` restricts the run to
        one platform (a candidate, or the reference platform alone); with `repeat` every candidate runs twice, to see
        whether it repeats itself.
        """
        _, results = next(self.trials([(case, None)], only, repeat=repeat))
        return results

    def trials(
        self, cases: Iterable[tuple[Case, _Tag]], only: str | None = None, *, repeat: bool = False
    ) -> Iterator[tuple[_Tag, list[Result]]]:
        """`trial` on each case, in order, with what came along with the case.

        With `overlap` a window of them has been run before the first is judged. Between two of them the bench may be
        used for anything else.
        """
        for window in windows(cases, lambda: self._pace.limit if self.overlap else 1):
            for (_, tag), results in zip(window, self._window([case for case, _ in window], only, repeat), strict=True):
                yield tag, results

    def _window(self, cases: list[Case], only: str | None, repeat: bool) -> Iterator[list[Result]]:
        names = [n for n in self.candidates if only in (None, n)]
        sessions = [self.reference, *(self.candidates[n] for n in names)]
        began, built = time.perf_counter(), self.times.build
        begun = [self._begun(session, cases) for session in sessions]
        truths = [self._truth(case) for case in cases]
        ran = [self._ended(self.reference, begun[0])]
        if not self.overlap and not _is_case(ran[0][0], truths[0]):
            self.missed, self.refused = set(), {self.reference_name: _refusal(ran[0][0], truths[0])}
            yield []  # a candidate in this process is not asked: it might never return
            return
        ran += [self._ended(session, run) for session, run in zip(sessions[1:], begun[1:], strict=True)]
        self._pace.took(len(cases), time.perf_counter() - began - (self.times.build - built))
        for number, (case, expected) in enumerate(zip(cases, truths, strict=True)):
            for session, outcomes in zip(sessions, ran, strict=True):
                if number == len(outcomes):  # what comes after a crash or a hang was left
                    outcomes += self._ended(session, partial(prefetch, session, cases[number:]))
            yield self._results(case, [outcomes[number] for outcomes in ran], expected, names, only, repeat)

    def _results(
        self,
        case: Case,
        ran: list[RunOutcome],
        expected: Truth | NoTruth,
        names: list[str],
        only: str | None,
        repeat: bool,
    ) -> list[Result]:
        """Judge what ran, the reference platform first."""
        reference, *outcomes = ran
        self.missed = {name for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, Unreachable)}
        self.refused = {}
        if not _is_case(reference, expected):
            self.refused[self.reference_name] = _refusal(reference, expected)
            return []
        if isinstance(expected, NoTruth):
            raise expected
        with self._oracle():
            doubt = judge(case, reference, expected)
        results = []
        if doubt.failed and self.doubt_reference and only in (None, self.reference_name):
            kind: Kind | None = "reference-suspect" if isinstance(reference, Ok) else doubt.kind
            results.append(Result(self.reference_name, case, _with_kind(doubt, kind), reference, expected))
        usable = reference if isinstance(reference, Ok) else None
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, Unsupported):
                self.refused[name] = outcome.reason
                continue
            verdict = self._judged(name, case, outcome, usable, expected, doubt, repeat)
            if verdict.kind != "reference-suspect":  # already said, of the reference platform
                results.append(Result(name, case, verdict, outcome, expected))
        return results

    def reproducer(self, platform: str, case: Case) -> Reproducer | None:
        """The platform's part of a standalone reproducer; None where it has none."""
        session = self.reference if platform == self.reference_name else self.candidates[platform]
        with self.reducing():
            return session.reproducer(case)

    def policy(self, name: str) -> Policy:
        """The numerical policy of a candidate."""
        if name not in self._policies:
            self._policies[name] = self.candidates[name].info().policy or Policy()
        return self._policies[name]

    @property
    def builds(self) -> int:
        return sum(s.builds for s in self.candidates.values())

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

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for session in (self.reference, *self.candidates.values()):
            session.close()

    def _begun(self, session: Session, cases: list[Case]) -> Callable[[], list[RunOutcome]]:
        """Runs of cases (see `prefetch`): under way while other things are done, or done when asked for."""
        if self._pool is None:
            return partial(prefetch, session, cases)
        return self._pool.submit(prefetch, session, cases).result

    def _ended(self, session: Session, run: Callable[[], list[RunOutcome]]) -> list[RunOutcome]:
        """Wait for runs. Time spent building is booked as that; while one builds, others may be building too."""
        began = time.perf_counter()
        outcomes = run()
        waited = time.perf_counter() - began
        building = min(waited, session.build_seconds - self._built.get(session.name, 0.0))
        self._built[session.name] = session.build_seconds
        self.times.build += building
        if session is self.reference:
            self.times.reference += waited - building
        else:
            self.times.candidate += waited - building
            for outcome in outcomes:
                if isinstance(outcome, Unreachable):
                    self.absent.setdefault(session.name, outcome.reason)
                else:
                    self.absent.pop(session.name, None)
        return outcomes

    def _truth(self, case: Case) -> Truth | NoTruth:
        """The truth, or why there is none (which matters only if the reference platform takes the case)."""
        try:
            with self._oracle():
                return truth(case.operator, case.tensors, case.sizes)
        except NoTruth as error:
            return error

    @contextmanager
    def _oracle(self) -> Iterator[None]:
        """Book the time, and make whatever the oracle raises a `NoTruth`."""
        began = time.perf_counter()
        try:
            yield
        except NoTruth:
            raise
        except Exception as error:
            raise OracleFailure(error) from error
        finally:
            self.times.oracle += time.perf_counter() - began

    def _judged(
        self,
        name: str,
        case: Case,
        outcome: RunOutcome,
        reference: Ok[Array] | None,
        expected: Truth,
        doubt: Verdict,
        repeat: bool,
    ) -> Verdict:
        policy = self.policy(name)
        with self._oracle():
            if doubt.failed and reference is not None:
                return judge_pair(case, outcome, reference, expected, policy)
            verdict = judge(case, outcome, expected, reference=reference, policy=policy)
        self._runs += 1
        if isinstance(outcome, Ok) and (repeat or verdict.failed or self._runs % REPEAT_EVERY == 0):
            session = self.candidates[name]
            (again,) = self._ended(session, partial(prefetch, session, [case]))
            if isinstance(again, Unsupported) or (isinstance(again, Ok) and _same(outcome, again)):
                return verdict
            if verdict.failed:
                same = not isinstance(again, Ok)
                return verdict if same else Verdict("nondeterministic", "two runs of one case differ", verdict.metrics)
            # Sums in another order every time (atomic additions) are right as long as both runs are.
            with self._oracle():
                second = judge(case, again, expected, reference=reference, policy=policy)
            if isinstance(again, Ok) and second.failed:
                return Verdict("nondeterministic", "only one of two runs is right", second.metrics)
            return second
        return verdict


def _is_case(reference: RunOutcome, expected: Truth | NoTruth) -> bool:
    return not isinstance(reference, RunError | Unsupported | BuildError) and not isinstance(expected, NoAnswer)


def _refusal(reference: RunOutcome, expected: Truth | Exception) -> str:
    """Why something is no case (see `_is_case`)."""
    match reference:
        case RunError(reason) | BuildError(reason) | Unsupported(reason):
            return reason
    return f"the oracle has no answer: {expected}"


def _with_kind(verdict: Verdict, kind: Kind | None) -> Verdict:
    return msgspec.structs.replace(verdict, kind=kind)


def _same(first: Ok[Array], second: Ok[Array]) -> bool:
    """Whether two runs gave the same values (NaN equals NaN)."""
    return len(first.outputs) == len(second.outputs) and all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fV")
        for a, b in zip(first.outputs, second.outputs, strict=True)
    )
