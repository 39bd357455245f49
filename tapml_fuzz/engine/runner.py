"""The differential runner: one case goes to the reference platform and to every candidate, and comes back judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import BuildError, Ok, RunError, RunOutcome, Unreachable, Unsupported
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.engine.case_session import CaseSession
from tapml_fuzz.engine.prefetch import WindowLimit, prefetch, windows
from tapml_fuzz.engine.stopwatch import Activity, Stopwatch
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.judge import judge, judge_pair, judge_reference, judge_repeated
from tapml_fuzz.oracle import NoAnswer, NoTruth, OracleFailure, Truth, truth
from tapml_fuzz.platforms.base import Reproducer

# One passing case in this many is run a second time, to see whether the platform repeats itself.
REPEAT_EVERY = 16

_Tag = TypeVar("_Tag")


class DifferentialRunner:
    """Sessions of the reference platform and of the candidates, which run cases side by side.

    Running a case is a *trial* per candidate. With `doubt_reference` a reference platform outside the bound is a
    result of its own; without, it only keeps the candidates from being blamed. With `overlap` the reference platform,
    the candidates and the oracle work at the same time, on as many cases as are known; what is booked is how long each
    was waited for. Not for use from several threads at once.

    Attributes:
        stopwatch: books what the time goes into; the caller's own work too, where it says so.
    """

    def __init__(
        self,
        reference_name: str,
        reference: CaseSession,
        candidates: Mapping[str, CaseSession],
        *,
        doubt_reference: bool = True,
        overlap: bool = True,
    ) -> None:
        self.reference_name, self.reference, self.candidates = reference_name, reference, candidates
        self.stopwatch = Stopwatch()
        self._doubt_reference = doubt_reference
        self._pool = ThreadPoolExecutor(1 + len(candidates), thread_name_prefix="session") if overlap else None
        self._limit = WindowLimit()
        self._judged_so_far = 0  # runs of candidates, of which one in a few is repeated
        self._built: dict[str, float] = {}  # build seconds of each session that have been looked at
        self._waited_for_builds = 0.0  # seconds
        self._policies: dict[str, Policy] = {}
        self._lost: dict[str, str] = {}  # why each session that does not answer now was lost

    def trial(self, case: Case, only: str | None = None, *, repeat: bool = False) -> Trial:
        """Run and judge one case.

        `only` restricts the run to one platform (a candidate, or the reference platform alone); with `repeat` every
        candidate runs twice, to see whether it repeats itself. Raises `NoTruth` where the oracle cannot say what is
        right although the reference platform takes the case.
        """
        _, trial = next(self.trials([(case, None)], only, repeat=repeat))
        return trial

    def trials(
        self, cases: Iterable[tuple[Case, _Tag]], only: str | None = None, *, repeat: bool = False
    ) -> Iterator[tuple[_Tag, Trial]]:
        """`trial` on each case, in order, with what came along with the case.

        With `overlap` a window of them has been run before the first is judged. Between two of them the runner may be
        used for anything else.
        """
        for window in windows(cases, lambda: self._limit.cases if self._pool is not None else 1):
            trials = self._window([case for case, _ in window], only, repeat)
            for (_, tag), trial in zip(window, trials, strict=True):
                yield tag, trial

    def judges(self, case: Case) -> bool:
        """Whether the case, which has been judged before, still can be: whether the oracle works at all."""
        try:
            self.trial(case, only=self.reference_name)
        except NoTruth:
            return False
        return True

    def reproducer(self, platform: str, case: Case) -> Reproducer | None:
        """The platform's part of a standalone reproducer; None where it has none."""
        session = self.reference if platform == self.reference_name else self.candidates[platform]
        with self.stopwatch.booking("reduce"):
            return session.reproducer(case)

    def policy(self, name: str) -> Policy:
        """The numerical policy of a candidate."""
        if name not in self._policies:
            self._policies[name] = self.candidates[name].info().policy or Policy()
        return self._policies[name]

    @property
    def builds(self) -> int:
        """Builds that the candidates have made so far."""
        return sum(s.builds for s in self.candidates.values())

    def close(self) -> None:
        """Stop every session."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for session in (self.reference, *self.candidates.values()):
            session.close()

    def _window(self, cases: list[Case], only: str | None, repeat: bool) -> Iterator[Trial]:
        """Run cases, on every platform asked for at once, then judge one after the other."""
        names = [n for n in self.candidates if only in (None, n)]
        sessions = [self.reference, *(self.candidates[n] for n in names)]
        began, built = time.perf_counter(), self._waited_for_builds
        begun = [self._begun(session, cases) for session in sessions]
        truths = self._truths(cases)
        ran = [self._ended(self.reference, begun[0])]
        if self._pool is None and not _is_case(ran[0][0], truths[0]):
            # A candidate in this process is not asked: it might never return.
            yield self._no_case(cases[0], ran[0][0], truths[0], {})
            return
        ran += [self._ended(session, run) for session, run in zip(sessions[1:], begun[1:], strict=True)]
        self._limit.took(len(cases), time.perf_counter() - began - (self._waited_for_builds - built))
        for number, case in enumerate(cases):
            if number == len(truths):  # what comes after a failure of the oracle was left
                truths += self._truths(cases[number:])
            expected = truths[number]
            for session, outcomes in zip(sessions, ran, strict=True):
                if number == len(outcomes):  # what comes after a crash or a hang was left
                    outcomes += self._ended(session, partial(prefetch, session, cases[number:]))
            reference, *others = (outcomes[number] for outcomes in ran)
            given = dict(zip(names, others, strict=True))
            if _is_case(reference, expected):
                yield self._judged(case, reference, given, expected, only, repeat)
            else:
                yield self._no_case(case, reference, expected, given)

    def _no_case(
        self, case: Case, reference: RunOutcome, expected: Truth | NoTruth, outcomes: Mapping[str, RunOutcome]
    ) -> Trial:
        gone = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, Unreachable)}
        refused = {self.reference_name: _refusal(reference, expected), **gone}
        return Trial(case, refused=refused, missed=frozenset(gone))

    def _judged(
        self,
        case: Case,
        reference: RunOutcome,
        outcomes: Mapping[str, RunOutcome],
        expected: Truth | NoTruth,
        only: str | None,
        repeat: bool,
    ) -> Trial:
        """Judge what ran, the reference platform first."""
        if isinstance(expected, NoTruth):
            raise expected
        results = []
        with self._oracle():
            doubt = judge_reference(case, reference, expected)
        asked = only == self.reference_name or (only is None and self._doubt_reference and doubt.failed)
        if asked:
            results.append(Result(self.reference_name, case, doubt, reference, expected))
        right = reference if isinstance(reference, Ok) else None
        for name, outcome in outcomes.items():
            if isinstance(outcome, Unsupported):
                continue
            if doubt.failed and right is not None:
                with self._oracle():
                    verdict = judge_pair(case, outcome, right, expected, self.policy(name))
            else:
                verdict = self._verdict(name, case, outcome, right, expected, repeat)
            if verdict.kind != "reference-suspect":  # already said, of the reference platform
                results.append(Result(name, case, verdict, outcome, expected))
        refused = {name: o.reason for name, o in outcomes.items() if isinstance(o, Unsupported)}
        missed = frozenset(name for name, outcome in outcomes.items() if isinstance(outcome, Unreachable))
        return Trial(case, tuple(results), refused, missed)

    def _verdict(
        self, name: str, case: Case, outcome: RunOutcome, reference: Ok[Array] | None, expected: Truth, repeat: bool
    ) -> Verdict:
        """A candidate's verdict, by two runs where it fails, where that is asked for, and every now and then."""
        policy = self.policy(name)
        with self._oracle():
            verdict = judge(case, outcome, expected, reference=reference, policy=policy)
        self._judged_so_far += 1
        if not isinstance(outcome, Ok) or not (repeat or verdict.failed or self._judged_so_far % REPEAT_EVERY == 0):
            return verdict
        session = self.candidates[name]
        (again,) = self._ended(session, partial(prefetch, session, [case]))
        with self._oracle():
            return judge_repeated(case, outcome, verdict, again, expected, reference=reference, policy=policy)

    def _begun(self, session: CaseSession, cases: list[Case]) -> Callable[[], list[RunOutcome]]:
        """Runs of cases (see `prefetch`): under way while other things are done, or done when asked for."""
        if self._pool is None:
            return partial(prefetch, session, cases)
        return self._pool.submit(prefetch, session, cases).result

    def _ended(self, session: CaseSession, run: Callable[[], list[RunOutcome]]) -> list[RunOutcome]:
        """Wait for runs. Time spent building is booked as that; while one builds, others may be building too."""
        activity: Activity = "reference" if session is self.reference else "candidate"
        began = time.perf_counter()
        with self.stopwatch.booking(activity):
            outcomes = run()
        waited = time.perf_counter() - began
        building = min(waited, session.build_seconds - self._built.get(session.name, 0.0))
        self._built[session.name] = session.build_seconds
        self._waited_for_builds += building
        self.stopwatch.rebook(building, activity, "build")
        return [self._first_reason(session.name, outcome) for outcome in outcomes]

    def _first_reason(self, name: str, outcome: RunOutcome) -> RunOutcome:
        """The outcome; of a machine that was lost with why it was lost, whatever the tries to reach it say since."""
        if not isinstance(outcome, Unreachable):
            self._lost.pop(name, None)
            return outcome
        return Unreachable(self._lost.setdefault(name, outcome.reason))

    def _truths(self, cases: Sequence[Case]) -> list[Truth | NoTruth]:
        """Truths in order, up to the first failure: the rest matters only if that is no case."""
        truths: list[Truth | NoTruth] = []
        for case in cases:
            truths.append(self._truth(case))
            if isinstance(truths[-1], NoTruth) and not isinstance(truths[-1], NoAnswer):
                break
        return truths

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
        with self.stopwatch.booking("oracle"):
            try:
                yield
            except NoTruth:
                raise
            except Exception as error:
                raise OracleFailure(error) from error


def _is_case(reference: RunOutcome, expected: Truth | NoTruth) -> bool:
    return not isinstance(reference, RunError | Unsupported | BuildError) and not isinstance(expected, NoAnswer)


def _refusal(reference: RunOutcome, expected: Truth | NoTruth) -> str:
    """Why something is no case (see `_is_case`)."""
    match reference:
        case RunError(reason) | BuildError(reason) | Unsupported(reason):
            return reason
    return f"the oracle has no answer: {expected}"
