"""The runs to make, and making them: spread over processes, one torch thread each."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

import torch

from benchmarks.detection.methods import METHODS, NO_SEEDS, OURS, Limits
from benchmarks.detection.model import Control, Fault
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
        seeds, trials: of every run on a fault.
        every: ours is tried on every fault, the other methods on one in `every`, which is where they are compared.
        seconds: of the runs with a limit of time (0: none), one seed on one in `timed_every` of those faults.
        realistic: trials of the runs that ask what recordings are worth, on the faults that activations reveal.
        control_trials, twin_trials: of one run of ours on each control and on each twin; the other methods make one
            of `other_trials` on one control or twin in `every`.
    """

    seeds: int
    trials: int
    every: int
    seconds: float
    timed_every: int
    realistic: int
    control_trials: int
    twin_trials: int
    other_trials: int


FULL = Size(
    10, 500, every=12, seconds=10.0, timed_every=2, realistic=100, control_trials=500, twin_trials=150, other_trials=100
)
QUICK = Size(
    2, 100, every=12, seconds=0.0, timed_every=1, realistic=10, control_trials=20, twin_trials=8, other_trials=30
)


def resized(size: Size, seeds: int | None, trials: int | None) -> Size:
    """The size with another number of seeds or trials in every run."""
    return replace(size, seeds=seeds or size.seeds, trials=trials or size.trials)


# The recordings do not change with the seed, so few tell what they are worth.
REALISTIC_SEEDS = 5
# Longer than any run should take; a run that reaches it counts as far as it got.
_PATIENCE_S = 120.0


def tasks(size: Size, methods: Sequence[str], names: Sequence[str] | None = None) -> Iterator[Task]:
    """Every run of a size; `names` restricts it to some faults and controls."""
    seeds = tuple(range(size.seeds))
    for method in methods:
        tried = list(faults()) if method == OURS else compared(faults(), size.every)
        for name in _able(tried, names):
            yield Task(method, "fault", name, seeds, "trials", Limits(size.trials, _PATIENCE_S))
            yield _correct("twin", name, method, size.twin_trials if method == OURS else size.other_trials)
        tried = list(controls()) if method == OURS else compared(controls(), size.every)
        for name in _able(tried, names):
            yield _correct("control", name, method, size.control_trials if method == OURS else size.other_trials)
        if method in (OURS, NO_SEEDS):
            for name in _able([n for n, fault in faults().items() if fault.reveals == "activations"], names):
                limits = Limits(size.realistic, _PATIENCE_S, realistic=True)
                yield Task(method, "fault", name, seeds[:REALISTIC_SEEDS], "realistic", limits)
        if size.seconds:
            for name in _able(compared(faults(), size.every * size.timed_every), names):
                yield Task(method, "fault", name, (0,), "seconds", Limits(10**9, size.seconds))


def compared(things: Mapping[str, Control | Fault], every: int) -> list[str]:
    """One in `every`, spread evenly over the families."""
    ordered = sorted(things, key=lambda name: (subject_of(things[name]).family, name))
    return ordered[1::every]


def _able(listed: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Those that were asked for and can run here."""
    return [n for n in listed if (names is None or n in names) and not (faults().get(n) or controls()[n]).missing]


def _correct(what: What, name: str, method: str, trials: int) -> Task:
    """One run on a correct implementation, all of it whatever is found."""
    return Task(method, what, name, (0,), "trials", Limits(trials, _PATIENCE_S, stop=False))


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
