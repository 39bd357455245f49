"""The campaign: operators in turn are fuzzed until the budget is used; what fails is reduced and stored."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tapml_fuzz.campaign.attendance import Attendance
from tapml_fuzz.campaign.lineup import Lineup
from tapml_fuzz.campaign.plan import Task, plan
from tapml_fuzz.campaign.summing import summary
from tapml_fuzz.campaign.tally import Tally
from tapml_fuzz.core.events import (
    CampaignFinished,
    CampaignStarted,
    Listener,
    OperatorUnjudged,
    Progress,
)
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.core.version import __version__
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.seeding import slice_seed
from tapml_fuzz.engine.trial import Result, Trial
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.triage.filing import Filer, Writer

# How long a stopped campaign waits for the trial at hand, in seconds.
_PATIENCE_S = 8.0


@dataclass(frozen=True)
class CampaignOptions:
    """The budget of a campaign and how it is spent.

    `dtypes` are the floating dtypes to draw besides the recorded ones; seconds are those of one failure.
    """

    budget: Budget
    seed: int = 0
    workers: int = 1
    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    max_elements: int = 16384
    shrink_seconds: float = 1.5
    reduce_seconds: float = 3.5


class Campaign:
    """Fuzzes `seed_sets` (by operator key) on the platforms of `lineup`, every worker on a runner of its own.

    Everything found goes to `store` at once, with the files that `writer` gives; `listener` hears of it.
    """

    def __init__(
        self,
        seed_sets: Mapping[str, SeedSet],
        lineup: Lineup,
        store: FindingStore,
        options: CampaignOptions,
        *,
        listener: Listener,
        writer: Writer,
    ) -> None:
        self._seed_sets, self._lineup, self._store, self._options = seed_sets, lineup, store, options
        self._listener = listener
        self._writer = writer
        self._tally, self._attendance = Tally(), Attendance(lineup.candidates)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._errors: list[BaseException] = []
        self._runners: list[DifferentialRunner] = []
        self._left, self._gone = 0, threading.Semaphore(0)  # workers that have left

    def run(self) -> RunSummary:
        """Run until the budget is used, `stop` is called or Ctrl-C; always gives a summary and closes every runner.

        Raises whatever broke the machinery in a worker, after the findings are safe.
        """
        options, lineup = self._options, self._lineup
        options.budget.start()
        facts = {"seed": options.seed, "budget": options.budget.text, "platforms": list(lineup.candidates)}
        number = self._store.begin_run({**facts, "version": __version__})
        self.filer = Filer(self._store, number, self._listener, lineup.reference, lineup.infos, self._writer)
        self._listener(
            CampaignStarted(
                __version__,
                options.seed,
                options.budget.text,
                lineup.reference,
                lineup.candidates,
                tuple(self._seed_sets),
            )
        )
        seeds = {key: len(seed_set.seeds) for key, seed_set in self._seed_sets.items()}
        tasks = plan(seeds, len(lineup.candidates), options.budget, options.seed)
        threads = [
            threading.Thread(target=self._work, args=(tasks, n), name=f"worker-{n}", daemon=True)
            for n in range(options.workers)
        ]
        interrupted = False
        for thread in threads:
            thread.start()
        try:
            self._await_all(len(threads), math.inf)
        except KeyboardInterrupt:
            interrupted = True
            self.stop()
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C leaves at once, the store is safe
                self._await_all(len(threads), time.monotonic() + _PATIENCE_S)
            for runner in self._runners:  # whoever is stuck in a build is cut off
                runner.close()
        result = self._summary(interrupted)
        self._store.finish_run(number, result)
        self._listener(CampaignFinished(result))
        if self._errors:
            raise self._errors[0]
        return result

    def stop(self) -> None:
        """End after the trial at hand; may be called from any thread."""
        self._stop.set()

    def _summary(self, interrupted: bool) -> RunSummary:
        return summary(
            self._tally,
            self._lineup,
            {key: seed_set.operator.describe() for key, seed_set in self._seed_sets.items()},
            self.filer.met(),
            new=self.filer.new,
            budget=self._options.budget,
            seed=self._options.seed,
            interrupted=interrupted,
        )

    def _work(self, tasks: Iterator[Task], worker: int) -> None:
        """One worker: takes tasks until there are none, on a runner of its own."""
        runner = None
        try:
            runner = self._lineup.make_runner()
            self._runners.append(runner)
            while not self._expired():
                with self._lock:
                    task = next(tasks, None)
                if task is None or len(self._tally.unjudged) == len(self._seed_sets):
                    return
                if task.operator not in self._tally.unjudged:
                    self._do(task, runner, worker)
        except BaseException as error:
            if not self._stop.is_set():  # what breaks while everything is being stopped says nothing
                self._errors.append(error)
            self.stop()
        finally:
            if runner is not None:
                self._tally.finish(runner)
                runner.close()
            with self._lock:
                self._left += 1
            self._gone.release()

    def _await_all(self, workers: int, deadline: float) -> None:
        """Wait until every worker has left. No `Thread.join`: an interrupt inside it makes it forget the thread."""
        while self._left < workers and time.monotonic() < deadline:
            self._gone.acquire(timeout=0.1)

    def _expired(self) -> bool:
        return self._stop.is_set() or (self._options.budget.seconds is not None and self._options.budget.used(0) >= 1.0)

    def _do(self, task: Task, runner: DifferentialRunner, worker: int) -> None:
        seed_set, options = self._seed_sets[task.operator], self._options
        fuzzer = OperatorFuzzer(
            seed_set,
            runner,
            _WorkerSink(self, worker, task.operator),
            FuzzOptions(
                dtypes=() if task.as_recorded else self._dtypes(seed_set),
                max_elements=options.max_elements,
                order_seed=slice_seed(options.seed, task.operator, -1),
                shrink_seconds=options.shrink_seconds,
                reduce_seconds=options.reduce_seconds,
            ),
            Stop(expired=self._expired, stopped=self._stop.is_set),
        )
        try:
            if task.replay:
                fuzzer.replay(task.examples)
            else:
                fuzzer.search(task.examples, task.start, task.seed)
        except NoTruth as error:
            self._leave(task.operator, error)
        used = options.budget.used(self._tally.trials)
        self._listener(Progress(seed_set.operator.describe(), self._tally.trials, len(self.filer.met()), used))

    def _leave(self, key: str, error: NoTruth) -> None:
        """An operator that the oracle cannot judge is not tried again: it would cost the others their time."""
        reason = str(error).partition("\n")[0]
        if self._tally.leave(key, reason):
            self._listener(OperatorUnjudged(self._seed_sets[key].operator.describe(), reason))

    def count(self, key: str, trial: Trial, worker: int) -> None:
        """Count a case of an operator, and say who has stopped or begun to answer."""
        self._tally.add(key, trial, self._lineup.reference)
        for event in self._attendance.noted(worker, trial):
            self._listener(event)

    def _dtypes(self, seed_set: SeedSet) -> Sequence[str]:
        """Recorded dtypes for half of the draws; for the others float dtypes that some candidate has."""
        if {seed_set.operator.dtypes[slot] for slot in seed_set.floating_slots} != {"float32"}:
            return ()
        candidates = [self._lineup.infos[name] for name in self._lineup.candidates]
        offered = {d for info in candidates if info.capabilities for d in info.capabilities.dtypes}
        extra = tuple(d for d in self._options.dtypes if d in offered)
        return ("",) * max(1, len(extra)) + extra


@dataclass(frozen=True)
class _WorkerSink:
    """Takes the results of one worker's fuzzing of one operator, which the campaign counts and its filer files."""

    campaign: Campaign
    worker: int
    operator: str

    def tried(self, trial: Trial) -> None:
        self.campaign.count(self.operator, trial, self.worker)

    def fingerprint(self, result: Result, seed_set: SeedSet) -> str | None:
        return self.campaign.filer.fingerprint(result, seed_set)

    def claim(self, fingerprint: str) -> bool:
        return self.campaign.filer.claim(fingerprint)

    def found(self, failure: Failure) -> None:
        self.campaign.filer.found(failure)

    def reduced(self, failure: Failure) -> None:
        self.campaign.filer.reduced(failure)
