"""The runs to make, and making them: spread over processes, one torch thread each."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

import torch

from benchmarks.detection.methods import METHODS, OURS, Limits
from benchmarks.detection.model import Control
from benchmarks.detection.registry import controls, faults, subject_of
from benchmarks.detection.rows import Mode, Row, What
from tapml_fuzz.core.case import Case


@dataclass(frozen=True)
class Task:
    """All seeds of one method on one implementation."""

    method: str
    what: What
    name: str
    seeds: tuple[int, ...]
    mode: Mode
    limits: Limits


@dataclass(frozen=True)
class Size:
    """How much to run.

    Attributes:
        seeds: of every method on every fault; trials: of each run.
        seconds: of the runs with a limit of time (0: none), which have `timed_seeds` seeds.
        control_seeds, twin_seeds: runs of `trials` trials of ours on each correct implementation; the other methods
            have one of `other_trials`.
    """

    seeds: int
    trials: int
    seconds: float
    timed_seeds: int
    control_seeds: int
    twin_seeds: int
    other_trials: int


FULL = Size(seeds=10, trials=500, seconds=10.0, timed_seeds=1, control_seeds=4, twin_seeds=1, other_trials=200)
QUICK = Size(seeds=2, trials=200, seconds=0.0, timed_seeds=0, control_seeds=1, twin_seeds=0, other_trials=50)


def resized(size: Size, seeds: int | None, trials: int | None) -> Size:
    """The size with another number of seeds or trials in every run."""
    if seeds:
        size = replace(
            size, seeds=seeds, control_seeds=min(size.control_seeds, seeds), twin_seeds=min(size.twin_seeds, seeds)
        )
    return replace(size, trials=trials) if trials else size


# Longer than any run should take; a run that reaches it counts as far as it got.
_PATIENCE_S = 120.0


def tasks(size: Size, methods: Sequence[str], names: Sequence[str] | None = None) -> Iterator[Task]:
    """Every run of a size; `names` restricts it to some faults and controls."""

    def wanted(name: str, thing: Control) -> bool:
        return not thing.missing and (names is None or name in names)

    for name, fault in faults().items():
        if not wanted(name, fault.candidate):
            continue
        for method in methods:
            yield Task(method, "fault", name, tuple(range(size.seeds)), "trials", Limits(size.trials, _PATIENCE_S))
            if size.seconds:
                seeds = tuple(range(size.timed_seeds))
                yield Task(method, "fault", name, seeds, "seconds", Limits(10**9, size.seconds))
            yield from _correct("twin", name, method, size, size.twin_seeds)
    for name, control in controls().items():
        if wanted(name, control):
            for method in methods:
                yield from _correct("control", name, method, size, size.control_seeds)


def _correct(what: What, name: str, method: str, size: Size, seeds: int) -> Iterator[Task]:
    whole = method == OURS
    trials, seeds = (size.trials, seeds) if whole else (size.other_trials, min(seeds, 1))
    if seeds:
        yield Task(method, what, name, tuple(range(seeds)), "trials", Limits(trials, _PATIENCE_S, stop=False))


def run(todo: Iterable[Task], workers: int) -> Iterator[list[Row]]:
    """The rows of every task, as they are finished; a task that raises is raised when all others are done."""
    context = multiprocessing.get_context("spawn")
    broken: list[BaseException] = []
    with ProcessPoolExecutor(workers, mp_context=context, initializer=quiet) as pool:
        under_way = {pool.submit(perform, task): task for task in todo}
        for done in as_completed(under_way):
            error = done.exception()
            if error is None:
                yield done.result()
                continue
            error.add_note(f"while running {under_way[done]}")
            broken.append(error)
            yield []
    if broken:
        raise BaseExceptionGroup(f"{len(broken)} tasks failed", broken)


def perform(task: Task) -> list[Row]:
    """Run one task here."""
    implementation = _implementation(task)
    subject, method = subject_of(implementation), METHODS[task.method]
    rows = []
    for seed in task.seeds:
        outcome = method.run(implementation, subject, task.limits, seed)
        first = outcome.first
        rows.append(
            Row(
                method=task.method,
                what=task.what,
                name=task.name,
                seed=seed,
                mode=task.mode,
                trials=outcome.trials,
                seconds=outcome.seconds,
                failures=outcome.failures,
                first_trial=first.trial if first else None,
                first_seconds=first.seconds if first else None,
                kind=first.kind if first else "",
                realism=first.realism if first else "",
                message=first.message if first else "",
                case=_told(first.case) if first and first.case else "",
                realisms=outcome.realisms,
                ratios=() if task.what == "fault" else tuple(round(r, 5) for r in outcome.ratios),
            )
        )
    return rows


def _told(case: Case) -> str:
    return f"{case.origin} {dict(case.sizes)} {' '.join(case.dtypes)} {' '.join(case.layouts)}"


def _implementation(task: Task) -> Control:
    if task.what == "control":
        return controls()[task.name]
    fault = faults()[task.name]
    return fault.candidate if task.what == "fault" else fault.twin


def quiet() -> None:
    """Set up a worker: one torch thread, no warnings about numbers that faults produce."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
