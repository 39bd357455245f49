"""Fuzzing of one operator: recorded seeds, enumerated recipes, drawn ones; what fails is reduced."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from tapml_fuzz.core.case import Case
from tapml_fuzz.engine.budget import Budget
from tapml_fuzz.engine.explore import explore
from tapml_fuzz.engine.failures import Failure, FailureSink
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.reducing import reduced
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.seeding import slice_seed
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.strategies import Recipe, SeedSet, enumerated_recipes, realise

# Recorded seeds before the first slice, and recipes in the slices, of fuzzing within a budget of its own.
_FIRST_SEEDS = 2
_SLICES = (16, 32, 64, 128)


class OperatorFuzzer:
    """Fuzzes one operator on one runner; all that comes of it goes to `sink`.

    Every method raises `NoTruth` where the oracle cannot say what is right.
    """

    def __init__(
        self,
        seed_set: SeedSet,
        runner: DifferentialRunner,
        sink: FailureSink,
        options: FuzzOptions | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._seed_set, self._runner, self._sink = seed_set, runner, sink
        self._options, self._stop = options or FuzzOptions(), stop or Stop()

    def within(self, limit: Budget, seed: int) -> None:
        """A few recorded seeds, a slice of recipes, the other seeds, then ever longer slices.

        A budget of trials fixes all of it beforehand.
        """
        left, dtypes = limit.trials, self._options.dtypes
        replayed = len(self._seed_set.seeds) if not dtypes or "" in dtypes else 0
        if left is not None:
            replayed = min(replayed, (left + 1) // 2)
            left -= replayed
        first = min(replayed, _FIRST_SEEDS)
        waiting = self._seed_set.seeds[first:replayed]
        self.replay(first, waiting)
        start = 0
        for number in itertools.count():
            size = _SLICES[min(number, len(_SLICES) - 1)]
            if left is not None:
                size = min(size, left)
                left -= size
            if size <= 0 or self._stop.expired():
                break
            self.search(size, start, seed * 1_000_003 + number, waiting)
            start += size
            self._try_recorded(waiting)
            waiting = ()
        self._try_recorded(waiting)

    def replay(self, count: int, waiting: Sequence[Case] = ()) -> None:
        """Run the first `count` recorded seeds exactly as they were: what fails here fails in the model.

        `waiting` are seeds that come later; what fails is looked for on them, since there it counts most.
        """
        self._try_recorded(self._seed_set.seeds[:count], waiting)

    def search(self, examples: int, start: int, seed: int, waiting: Sequence[Case] = ()) -> None:
        """Run `examples` recipes from number `start` on: the enumerated ones while they last, then drawn ones."""
        enumerated = self._enumerated[start : start + examples]
        self._try(self._realised(enumerated), waiting)
        self._explore(examples - len(enumerated), seed)

    @cached_property
    def _enumerated(self) -> list[Recipe]:
        options = self._options
        return enumerated_recipes(self._seed_set, dtypes=options.dtypes, phases=options.phases, seed=options.order_seed)

    def _realised(self, chosen: Iterable[Recipe]) -> Iterator[tuple[Case, Recipe]]:
        for recipe in chosen:
            with self._runner.stopwatch.booking("generate"):
                case = realise(recipe, self._seed_set, self._options.max_elements)
            if case is not None:
                yield case, recipe

    def _try_recorded(self, seeds: Sequence[Case], waiting: Sequence[Case] = ()) -> None:
        self._try(((case, None) for case in seeds), waiting)

    def _try(self, cases: Iterable[tuple[Case, Recipe | None]], waiting: Sequence[Case]) -> None:
        """Run cases with what made them, until time is up."""
        if self._stop.expired():
            return
        for recipe, trial in self._runner.trials(cases):
            if self._stop.stopped():  # a platform that is being closed answers nonsense
                return
            self._sink.tried(trial)
            for result in trial.results:
                self._take(result, recipe, waiting)
            if self._stop.expired():
                return

    def _take(self, result: Result, recipe: Recipe | None, waiting: Sequence[Case]) -> None:
        """Report and reduce a result that is a failure nobody has claimed."""
        fingerprint = self._sink.fingerprint(result, self._seed_set)
        if fingerprint is None or not self._sink.claim(fingerprint):
            return
        recorded = self._on_a_seed(fingerprint, result.platform, waiting)
        met, by = (result, recipe) if recorded is None else (recorded, None)
        failure = Failure(fingerprint, met, met, self._seed_set, by)
        # At once and without a reproducer, which takes the platform's time: a kill must not lose the finding.
        self._sink.found(failure)
        self._reduce(failure)

    def _on_a_seed(self, fingerprint: str, platform: str, waiting: Sequence[Case]) -> Result | None:
        """The same failure on a recorded seed that is still to be replayed."""
        for case in waiting:
            try:
                trial = self._runner.trial(case, only=platform)
            except NoTruth:  # it will be said of this seed when its turn comes
                return None
            for result in trial.results:
                if self._sink.fingerprint(result, self._seed_set) == fingerprint:
                    return result
        return None

    def _explore(self, examples: int, seed: int) -> None:
        """Draw recipes; after every new finding the rest goes on from another seed."""
        left, attempt = examples, 0
        while left > 0 and not self._stop.expired():
            drawn = explore(
                self._seed_set,
                self._runner,
                self._sink,
                self._options,
                self._stop,
                examples=left,
                seed=slice_seed(seed, self._seed_set.operator.key, attempt),
            )
            if drawn.failure is None:
                return
            self._reduce(drawn.failure)
            left, attempt = left - max(1, drawn.tried), attempt + 1

    def _reduce(self, failure: Failure) -> None:
        if not self._stop.stopped():
            self._sink.reduced(reduced(failure, self._runner, self._stop, self._options.reduce_seconds))
