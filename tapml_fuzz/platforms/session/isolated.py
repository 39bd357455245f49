"""A platform in a spawned worker process: a crash, a hang or a corrupted heap costs that worker and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import MachineryFailure
from tapml_fuzz.core.operator import encode_operator
from tapml_fuzz.core.outcome import (
    BuildOutcome,
    Built,
    Crash,
    NeedsSizes,
    RunOutcome,
    Timeout,
    Unreachable,
)
from tapml_fuzz.platforms.address import is_remote
from tapml_fuzz.platforms.base import BuildSpec, Info, Reproducer
from tapml_fuzz.platforms.registry import location
from tapml_fuzz.platforms.session.batch import batch_from, run_request
from tapml_fuzz.platforms.session.failures import build_outcome, run_outcome
from tapml_fuzz.platforms.session.reconnection import Absence
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.platforms.session.wire import (
    BuildReply,
    BuildRequest,
    FailureReply,
    Hello,
    Message,
    ReproducerReply,
    ReproducerRequest,
    RunReply,
    WireError,
)
from tapml_fuzz.platforms.session.worker_process import WorkerProcess

# A new worker builds everything anew, some seconds; memory, not age, is what usually retires one.
RUNS_PER_WORKER = 100_000
RESIDENT_LIMIT = 2 << 30  # bytes
_REPRODUCER_TIMEOUT_S = 30.0  # a finding waits for its reproducer before it is filed


class WorkerSession(Session):
    """The platform `name` in a worker of its own, restarted when it dies and replaced before it grows old.

    `where` overrides the registry with a `module:Class` of the caller's own. Timeouts are in seconds; a worker
    that exceeds one is killed. Not for use from several threads at once.

    A platform on another machine (`registry.location`) has its worker here, which talks to that machine. When the
    machine stops answering, runs and builds are `Unreachable`, at once and without waiting, while a new worker tries
    to reach it again.

    Attributes:
        restarts: workers started after the first.
    """

    def __init__(
        self,
        name: str,
        *,
        where: str | None = None,
        run_timeout: float = 10.0,
        build_timeout: float = 120.0,
        start_timeout: float = 120.0,
        runs_per_worker: int = RUNS_PER_WORKER,
        resident_limit: int = RESIDENT_LIMIT,
    ) -> None:
        super().__init__(name)
        self._where = where or location(name)
        self._run_timeout = run_timeout
        self._build_timeout = build_timeout
        self._start_timeout = start_timeout
        self._runs_per_worker = runs_per_worker
        self._resident_limit = resident_limit
        self._worker: WorkerProcess | None = None
        self._info: Info | None = None
        self._runs = 0
        self._resident = 0  # bytes, the most that the worker has said
        self._greeted = False
        self._absence: Absence | None = None
        self._tensors: list[Array] = []
        self.restarts = -1

    def start(self) -> None:
        """Spawn the worker; it activates the platform while the caller does other things."""
        if self._worker is None:
            self._worker = WorkerProcess(self._where)
            self._runs, self._resident, self._greeted = 0, 0, False
            self.restarts += 1

    def info(self) -> Info:
        """See `Session.info`. It waits for the worker's first message, `start_timeout` seconds at most."""
        if self._info is None:
            self._info = self._ready()
        return self._info

    def run_many(self, cases: Sequence[Case]) -> Iterator[RunOutcome]:
        """See `Session.run_many`; neighbours that one build serves go in one message (`session.batch`)."""
        done = 0
        while done < len(cases):
            case = cases[done]
            refused = self._refused(case)
            if refused is not None:
                yield refused
                done += 1
                continue
            spec, built = self._settled(case.operator, case.dtypes, case.sizes)
            if not isinstance(built, Built):
                yield built
                done += 1
                continue
            # Fewer than were sent when one has cost the worker: the next worker runs those after it.
            batch = batch_from(cases, done, partial(self._goes_along, spec))
            outcomes = self._run_batch(built.handle, [self._laid_out(case) for case in batch])
            yield from outcomes
            done += len(outcomes)

    def _goes_along(self, spec: BuildSpec, case: Case) -> bool:
        """Whether a case may be in one message with others that the build of `spec` serves."""
        return spec.serves(case) and self._refused(case) is None

    def _ready(self) -> Info:
        """The worker's first message, after making sure that a worker is there and has sent it."""
        if self._worker is not None and self._greeted and self._info is not None:
            return self._info
        self.start()
        said = self._greeting()
        self._greeted = True
        if not said.available:
            self.close()
        return said

    def close(self) -> None:
        """Kill the worker, if there is one; its builds are gone."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
            self._forget_builds()

    def _greeting(self) -> Info:
        """The `Info` in the new worker's first message, or one that says why there was none."""
        assert self._worker is not None
        try:
            message, _ = self._worker.channel.receive(self._worker.started + self._start_timeout)
        except TimeoutError:
            return Info(self.name, False, f"did not start within {self._start_timeout:g} s")
        except WireError:
            crash = self._worker.crash()
            words = crash.stderr.strip().splitlines()
            said = f": {words[-1]}" if words else ""
            return Info(self.name, False, f"worker ended with status {crash.exit_code} while starting{said}")
        if isinstance(message, Hello):
            return message.info
        return Info(self.name, False, f"worker began with {type(message).__name__}")

    def _build(self, spec: BuildSpec) -> BuildOutcome | NeedsSizes:
        if self._absence is not None and not self._returned(self._absence):
            return Unreachable(self._absence.reason)
        said = self._ready()
        if not said.available and is_remote(self.name):
            return self._gone(said.reason)
        if not said.available:
            raise MachineryFailure(
                f"{self.name} does not come back: {said.reason}", hint="free its device and run again"
            )
        request = BuildRequest(encode_operator(spec.operator), spec.dtypes, spec.sizes, tuple(self._dropped))
        self._dropped.clear()
        reply = self._ask(request, (), self._build_timeout)
        if isinstance(reply, FailureReply) and reply.lost and reply.kind != "unreachable":
            # An earlier run may have lost the device without a word: the build deserves a worker of its own.
            self._replace()
            if self._ready().available:
                reply = self._ask(request, (), self._build_timeout)
        match reply:
            case BuildReply():
                symbolic = len(spec.sizes) < len(spec.operator.axis_names)
                return Built(reply.handle, reply.seconds, symbolic)
            case FailureReply():
                self._recover_from(reply)
                return build_outcome(reply, spec)
            case Crash() | Timeout():
                return reply
        return self._misspoke(reply)

    def _run(self, handle: int, case: Case) -> RunOutcome:
        return self._run_batch(handle, (case,))[0]

    def _run_batch(self, handle: int, cases: Sequence[Case]) -> list[RunOutcome]:
        """Outcomes of cases of one build: of all of them, or up to the one that cost the worker."""
        worker = self._worker
        outcomes = [self._ran(self._ask(*run_request(handle, cases), self._run_timeout))]
        while self._worker is worker and len(outcomes) < len(cases):
            outcomes.append(self._ran(self._ask(None, (), self._run_timeout)))
        if self._worker is worker and (self._runs >= self._runs_per_worker or self._resident > self._resident_limit):
            self._replace()
        return outcomes

    def _ran(self, reply: Message | Crash | Timeout) -> RunOutcome:
        """The outcome in the answer to one case; the worker is replaced if its device is lost."""
        self._runs += 1
        match reply:
            case RunReply():
                self._resident = max(self._resident, reply.rss)
                return reply.run.with_outputs(tuple(self._tensors))
            case FailureReply():
                self._recover_from(reply)
                return run_outcome(reply)
            case Crash() | Timeout():
                return reply
        return self._misspoke(reply)

    def _reproducer(self, spec: BuildSpec, case: Case) -> Reproducer | None:
        """A platform that dies or hangs while it writes is asked once more, not to compile anything this time."""
        for careful in (False, True):
            if self._absence is not None and not self._returned(self._absence):
                return None
            if not self._ready().available:
                return None
            facts = (encode_operator(spec.operator), spec.dtypes, spec.sizes, dict(case.sizes), case.layouts)
            reply = self._ask(ReproducerRequest(*facts, careful), (), _REPRODUCER_TIMEOUT_S)
            if not isinstance(reply, Crash | Timeout):
                return reply.reproducer if isinstance(reply, ReproducerReply) else None
        return None

    def _recover_from(self, failure: FailureReply) -> None:
        """Start another worker where the failure has cost this one."""
        if failure.kind == "unreachable":
            self._gone(failure.message)
        elif failure.lost:
            self._replace()

    def _gone(self, reason: str) -> Unreachable:
        """The platform's machine does not answer: a new worker tries again while the caller does other things."""
        self.close()
        self._absence = Absence(reason)
        self.start()
        return Unreachable(reason)

    def _returned(self, absence: Absence) -> bool:
        """Whether the machine answers again; never waits for it."""
        if self._worker is None:
            if not absence.due:
                return False
            self.start()
        assert self._worker is not None
        late = time.monotonic() > self._worker.started + self._start_timeout
        if not self._worker.channel.wait(0) and not late:
            return False
        said = self._ready()
        if not said.available:
            self.close()
            absence.again(said.reason)
            return False
        self._absence = None
        return True

    def _replace(self) -> None:
        """A fresh worker, which starts while the caller does other things."""
        self.close()
        self.start()

    def _ask(self, request: Message | None, tensors: Sequence[Array], seconds: float) -> Message | Crash | Timeout:
        """Send a request and wait for its answer; the answer's tensors are left in `self._tensors`.

        None waits for one more answer to the last request.
        """
        worker = self._worker
        assert worker is not None
        deadline = time.monotonic() + seconds
        try:
            if request is not None:
                worker.channel.send(request, tensors, deadline)
            message, self._tensors = worker.channel.receive(deadline)
        except TimeoutError:
            self.close()
            return Timeout(seconds)
        except (WireError, OSError):  # the worker is gone, or another thread has closed the session
            crash = worker.crash()
            self.close()
            return crash
        return message

    def _misspoke(self, reply: object) -> Crash:
        """A worker that answers out of turn has lost its mind: treated as a crash."""
        self.close()
        return Crash(0, f"answered with {type(reply).__name__}")
