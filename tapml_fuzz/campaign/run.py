"""The campaign: operators in turn through the bench until the budget is used; what fails is reduced and stored."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapml_fuzz.campaign.plan import Task, plan
from tapml_fuzz.campaign.tally import Tally, summary
from tapml_fuzz.core.events import (
    CampaignFinished,
    CampaignStarted,
    Listener,
    OperatorUnjudged,
    PlatformLost,
    PlatformReturned,
    Progress,
)
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.fuzzer import OperatorFuzzer
from tapml_fuzz.engine.runner import DifferentialRunner, Result
from tapml_fuzz.engine.seeding import slice_seed
from tapml_fuzz.engine.times import Times
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.triage.filing import Filer, Writer

# How long a stopped campaign waits for the trial at hand, in seconds.
_PATIENCE_S = 8.0


@dataclass(frozen=True)
class CampaignOptions:
    """What to fuzz and for how long. `dtypes` are the floating dtypes to draw besides the recorded ones."""

    budget: Budget
    seed: int = 0
    workers: int = 1
    dtypes: tuple[str, ...] = ("float16", "bfloat16")
    max_elements: int = 16384
    shrink_seconds: float = 1.5
    reduce_seconds: float = 3.5


@dataclass
class Campaign:
    """Fuzzes `seed_sets` (by operator key) on benches made by `make_runner`, one bench per worker.

    Everything found goes to `store` at once; `listener` hears of it. `run` gives the summary.
    """

    seed_sets: Mapping[str, SeedSet]
    make_runner: Callable[[], DifferentialRunner]
    store: FindingStore
    options: CampaignOptions
    listener: Listener
    infos: Mapping[str, Info]
    reference: str
    version: str
    writer: Writer
    tally: Tally = field(default_factory=Tally)
    times: Times = field(default_factory=Times)
    _builds: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _errors: list[BaseException] = field(default_factory=list)
    _runners: list[DifferentialRunner] = field(default_factory=list)
    _absent: set[str] = field(default_factory=set)
    _left: int = 0
    _gone: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self) -> dict[str, Any]:
        """Run until the budget is used, `stop` is called or Ctrl-C; always gives a summary and closes every bench.

        Raises whatever broke the machinery in a worker, after the findings are safe.
        """
        options = self.options
        candidates = [name for name in self.infos if name != self.reference]
        options.budget.start()
        run_number = self.store.begin_run(
            {"seed": options.seed, "budget": options.budget.text, "platforms": candidates, "version": self.version}
        )
        self.filer = Filer(self.store, run_number, self.listener, self.infos, self.writer)
        self.listener(
            CampaignStarted(
                self.version,
                options.seed,
                options.budget.text,
                self.reference,
                tuple(candidates),
                tuple(self.seed_sets),
            )
        )
        seeds = {key: len(seed_set.seeds) for key, seed_set in self.seed_sets.items()}
        tasks = plan(seeds, len(candidates), options.budget, options.seed)
        threads = [
            threading.Thread(target=self._work, args=(tasks,), name=f"worker-{n}", daemon=True)
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
        self.store.finish_run(run_number, result)
        self.listener(CampaignFinished(result, interrupted))
        if self._errors:
            raise self._errors[0]
        return result

    def stop(self) -> None:
        """End after the trial at hand; may be called from any thread."""
        self._stop.set()

    def _summary(self, interrupted: bool) -> dict[str, Any]:
        return summary(
            version=self.version,
            seed=self.options.seed,
            budget=self.options.budget.text,
            reference=self.reference,
            elapsed=self.options.budget.elapsed,
            tally=self.tally,
            times=self.times,
            builds=self._builds,
            operators={key: seed_set.operator.describe() for key, seed_set in self.seed_sets.items()},
            platforms={
                name: {"device": info.device, "versions": info.versions, "reference": name == self.reference}
                for name, info in self.infos.items()
            },
            findings=self.filer.met(),
            new=self.filer.new,
            interrupted=interrupted,
        )

    def _work(self, tasks: Iterator[Task]) -> None:
        """One worker: takes tasks until there are none, on a bench of its own."""
        runner = None
        try:
            runner = self.make_runner()
            self._runners.append(runner)
            while not self._expired():
                with self._lock:
                    task = next(tasks, None)
                if task is None or len(self.tally.unjudged) == len(self.seed_sets):
                    return
                if task.operator not in self.tally.unjudged:
                    self._do(task, runner)
        except BaseException as error:
            if not self._stop.is_set():  # what breaks while everything is being stopped says nothing
                self._errors.append(error)
            self.stop()
        finally:
            if runner is not None:
                with self._lock:
                    self.times.add(runner.times)
                    for name, session in runner.candidates.items():
                        self._builds[name] = self._builds.get(name, 0) + session.builds
                runner.close()
            with self._lock:
                self._left += 1
            self._gone.release()

    def _await_all(self, workers: int, deadline: float) -> None:
        """Wait until every worker has left. No `Thread.join`: an interrupt inside it makes it forget the thread."""
        while self._left < workers and time.monotonic() < deadline:
            self._gone.acquire(timeout=0.1)

    def _expired(self) -> bool:
        return self._stop.is_set() or (self.options.budget.seconds is not None and self.options.budget.used(0) >= 1.0)

    def _do(self, task: Task, runner: DifferentialRunner) -> None:
        seed_set, options = self.seed_sets[task.operator], self.options
        fuzzer = OperatorFuzzer(
            seed_set,
            runner,
            self.filer,
            dtypes=() if task.as_recorded else self._dtypes(seed_set),
            max_elements=options.max_elements,
            order_seed=slice_seed(options.seed, task.operator, -1),
            shrink_seconds=options.shrink_seconds,
            reduce_seconds=options.reduce_seconds,
            expired=self._expired,
            stopped=self._stop.is_set,
            on_trial=lambda results: self._count(task.operator, results, runner),
        )
        try:
            if task.replay:
                fuzzer.replay(task.examples)
            else:
                fuzzer.search(task.examples, task.start, task.seed)
        except NoTruth as error:
            self._leave(task.operator, error)
        used = options.budget.used(self.tally.trials)
        self.listener(Progress(seed_set.operator.describe(), self.tally.trials, len(self.filer.met()), used))

    def _leave(self, key: str, error: NoTruth) -> None:
        """An operator that the oracle cannot judge is not tried again: it would cost the others their time."""
        reason = str(error).partition("\n")[0]
        if self.tally.leave(key, reason):
            self.listener(OperatorUnjudged(self.seed_sets[key].operator.describe(), reason))

    def _count(self, key: str, results: list[Result], runner: DifferentialRunner) -> None:
        """Count a case, and say who has stopped or begun to answer."""
        self.tally.add(key, results, self.reference, runner.missed, runner.refused)
        if not runner.absent and not self._absent:
            return
        with self._lock:
            lost = {name: why for name, why in runner.absent.items() if name not in self._absent}
            back = {name for name in self._absent if name not in runner.absent}
            self._absent = (self._absent | set(lost)) - back
        for name, why in lost.items():
            self.listener(PlatformLost(name, why))
        for name in back:
            self.listener(PlatformReturned(name))

    def _dtypes(self, seed_set: SeedSet) -> Sequence[str]:
        """Recorded dtypes for half of the draws; for the others float dtypes that some candidate has."""
        if {seed_set.operator.dtypes[slot] for slot in seed_set.floating_slots} != {"float32"}:
            return ()
        candidates = [info for name, info in self.infos.items() if name != self.reference]
        offered = {d for info in candidates if info.capabilities for d in info.capabilities.dtypes}
        extra = tuple(d for d in self.options.dtypes if d in offered)
        return ("",) * max(1, len(extra)) + extra
