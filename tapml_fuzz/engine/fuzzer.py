"""Hunting on one operator: replay what was recorded, draw recipes, reduce what fails. Knows no files."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.verdict import COMPARED
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.explore import Exploration
from tapml_fuzz.engine.runner import DifferentialRunner, Result
from tapml_fuzz.engine.seeding import slice_seed
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.reduction import reduce_case
from tapml_fuzz.strategies import PHASES, Recipe, SeedSet, enumerated_recipes, realise, realism
from tapml_fuzz.strategies.recipes import Phase
from tapml_fuzz.triage.fingerprint import fingerprint_of, is_no_less_realistic

# A reduced case stays this many times outside the error bound, if the failure was when it was found, and keeps this
# share of how far outside it was.
CLEARLY_WRONG = 4.0
KEPT_SEVERITY = 0.1
# Recorded seeds before the first slice, and recipes in the slices, of a hunt of its own.
_FIRST_SEEDS = 2
_SLICES = (16, 32, 64, 128)


@dataclass(frozen=True)
class Failure:
    """A failure: where it was met first, and on the smallest case so far.

    Attributes:
        id: identity of the finding.
        found, best: results on the case as it was found and on the smallest one (at first the same).
        recipe: what made the case; None for a recorded one.
        script: the platform's part of a reproducer, if it has one; seconds: what reduction took.
    """

    id: str
    found: Result
    best: Result
    seed_set: SeedSet
    recipe: Recipe | None = None
    reproducer: Reproducer | None = None
    seconds: float = 0.0


class FailureSink(Protocol):
    """Where failures go: a store on disk, or a list in memory."""

    def claim(self, id_: str) -> bool:
        """True for whoever meets a failure of this identity first: it is theirs to file."""

    def found(self, failure: Failure) -> None:
        """A new failure, before reduction."""

    def reduced(self, failure: Failure) -> None:
        """The same failure on the smallest case found."""


@dataclass(frozen=True)
class OperatorFuzzer:
    """One operator on one bench.

    `expired` ends it after the trial at hand; `stopped` also gives up reduction (Ctrl-C); `on_trial` hears of every
    case that was run to find something (not to reduce it). Without `steer`, drawing does not climb toward large error
    ratios.
    """

    seed_set: SeedSet
    runner: DifferentialRunner
    sink: FailureSink
    dtypes: Sequence[str] = ()
    phases: Sequence[Phase] = PHASES
    steer: bool = True
    max_elements: int = 16384
    order_seed: int = 0
    shrink_seconds: float = 1.5
    reduce_seconds: float = 3.5
    expired: Callable[[], bool] = lambda: False
    stopped: Callable[[], bool] = lambda: False
    on_trial: Callable[[list[Result]], None] = lambda results: None
    _waiting: list[Case] = field(default_factory=list, repr=False)

    def within(self, limit: Budget, seed: int) -> None:
        """A few recorded seeds, a slice of recipes, the other seeds, then ever longer slices.

        A budget of trials fixes all of it beforehand.
        """
        left = limit.trials
        replayed = len(self.seed_set.seeds) if not self.dtypes or "" in self.dtypes else 0
        if left is not None:
            replayed = min(replayed, (left + 1) // 2)
            left -= replayed
        first = min(replayed, _FIRST_SEEDS)
        self._waiting[:] = self.seed_set.seeds[first:replayed]
        self.replay(first)
        start = 0
        for number in itertools.count():
            size = _SLICES[min(number, len(_SLICES) - 1)]
            if left is not None:
                size = min(size, left)
                left -= size
            if size <= 0 or self.expired():
                break
            self.search(size, start, seed * 1_000_003 + number)
            start += size
            self._replay_waiting()
        self._replay_waiting()

    def replay(self, count: int) -> None:
        """The first `count` recorded seeds exactly as they were: what fails here fails in the model."""
        self._try((case, None) for case in self.seed_set.seeds[:count])

    def _replay_waiting(self) -> None:
        seeds = list(self._waiting)
        self._waiting.clear()
        self._try((case, None) for case in seeds)

    def search(self, examples: int, start: int, seed: int) -> None:
        """`examples` recipes from number `start` on: the enumerated recipes's while it lasts, then drawn ones."""
        enumerated = self._enumerated[start : start + examples]
        self._try(self._realised(enumerated))
        self._explore(examples - len(enumerated), seed)

    def _realised(self, enumerated: list[Recipe]) -> Iterator[tuple[Case, Recipe]]:
        for recipe in enumerated:
            began = time.perf_counter()
            case = realise(recipe, self.seed_set, self.max_elements)
            self.runner.times.generate += time.perf_counter() - began
            if case is not None:
                yield case, recipe

    @cached_property
    def _enumerated(self) -> list[Recipe]:
        return enumerated_recipes(self.seed_set, dtypes=self.dtypes, phases=self.phases, seed=self.order_seed)

    def _try(self, cases: Iterable[tuple[Case, Recipe | None]]) -> None:
        """Cases with what made them, until time is up."""
        if self.expired():
            return
        for recipe, results in self.runner.trials(cases):
            if self.stopped():  # a platform that is being closed answers nonsense
                return
            self.on_trial(results)
            for result in results:
                self._file(result, recipe)
            if self.expired():
                return

    def _file(self, result: Result, recipe: Recipe | None) -> None:
        id_ = fingerprint_of(result, self.seed_set)
        if id_ and self.sink.claim(id_):
            recorded = self._on_a_seed(id_, result.platform)
            met, by = (result, recipe) if recorded is None else (recorded, None)
            self._found(id_, by, met)
            self._reduce(id_, met, met, by)

    def _on_a_seed(self, id_: str, platform: str) -> Result | None:
        """The same failure on a recorded seed that is still to be replayed: there it counts most."""
        for case in self._waiting:
            for result in self.runner.trial(case, only=platform):
                if fingerprint_of(result, self.seed_set) == id_:
                    return result
        return None

    def _explore(self, examples: int, seed: int) -> None:
        """Draw recipes; after every new finding the rest goes on from another seed."""
        left, attempt = examples, 0
        while left > 0 and not self.expired():
            run = Exploration(
                self.seed_set,
                self.runner,
                examples=left,
                seed=slice_seed(seed, self.seed_set.operator.key, attempt),
                identify=lambda result: fingerprint_of(result, self.seed_set),
                claim=self.sink.claim,
                dtypes=self.dtypes,
                phases=self.phases,
                steer=self.steer,
                max_elements=self.max_elements,
                expired=self.expired,
                shrink_seconds=self.shrink_seconds,
                on_trial=self.on_trial,
                on_found=self._found,
            ).run()
            if run.fingerprint is None or run.result is None or run.found is None:
                return
            self._reduce(run.fingerprint, run.found, run.result, run.recipe)
            left, attempt = left - max(1, run.tried), attempt + 1

    def _found(self, id_: str, recipe: Recipe | None, result: Result) -> None:
        # At once and without a script, which takes the platform's time: a kill must not lose the finding.
        self.sink.found(Failure(id_, result, result, self.seed_set, recipe))

    def _reduce(self, id_: str, found: Result, start: Result, recipe: Recipe | None) -> None:
        if self.stopped():
            return
        best, level = start, realism(start.case, self.seed_set)
        # A case that ends just outside the bound convinces nobody: what was clearly wrong stays clearly wrong.
        repeat = start.verdict.kind == "nondeterministic"
        severity = start.verdict.metrics.ratio
        enough = min(severity, max(CLEARLY_WRONG, severity * KEPT_SEVERITY))

        def fails(case: Case) -> bool:
            nonlocal best, level
            if self.stopped():
                return False
            now = realism(case, self.seed_set)
            if not is_no_less_realistic(now, level):
                return False
            for result in self.runner.trial(case, only=found.platform, repeat=repeat):
                if _same_fault(result, found) and result.verdict.metrics.ratio >= enough:
                    best, level = result, now
                    return True
            return False

        with self.runner.reducing():
            reduction = reduce_case(start.case, fails, seconds=self.reduce_seconds)
        reproducer = self.runner.reproducer(best.platform, best.case)
        self.sink.reduced(Failure(id_, found, best, self.seed_set, recipe, reproducer, reduction.seconds))


def _same_fault(result: Result, found: Result) -> bool:
    """The same platform and kind; where no comparison of values tells how, the same words too (numbers aside)."""
    if result.platform != found.platform or result.verdict.kind != found.verdict.kind:
        return False
    return result.verdict.kind in COMPARED or _words(result) == _words(found)


def _words(result: Result) -> str:
    return re.sub(r"[^a-z]+", " ", result.verdict.message.lower())[:60]
