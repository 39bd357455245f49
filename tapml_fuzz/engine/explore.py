"""Hypothesis as the driver: it draws recipes, steers toward large error ratios and shrinks the recipe that fails."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
from hypothesis import HealthCheck, given, reject, settings, target
from hypothesis import Phase as HypothesisPhase
from hypothesis import seed as hypothesis_seed
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.reporting import with_reporter

from tapml_fuzz.core.case import Case
from tapml_fuzz.engine.failures import Failure, FailureSink
from tapml_fuzz.engine.hypothesis_home import own_hypothesis_home
from tapml_fuzz.engine.options import FuzzOptions, Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.strategies import Recipe, SeedSet, realise, recipes

# Steering pays only when there are enough examples to climb from.
_STEER_FROM = 60
# A drawn recipe is tried on this many recorded cases: drawing it costs Hypothesis about as much as running it.
_VARIANTS = 4


class _Failing(Exception):
    """Tells Hypothesis that a recipe fails; one subclass per fingerprint, so that failures are not mixed up."""


class _Enough(BaseException):
    """Ends a Hypothesis run at once: time is up. No `Exception`, so that Hypothesis does not take it for a failure."""


@dataclass(frozen=True)
class Exploration:
    """The result of drawing recipes around a seed set.

    Attributes:
        tried: trials made.
        failure: the first failure that the sink claimed, on the smallest recipe that still fails so; None without one.
    """

    tried: int
    failure: Failure | None


def explore(
    seed_set: SeedSet,
    runner: DifferentialRunner,
    sink: FailureSink,
    options: FuzzOptions,
    stop: Stop,
    *,
    examples: int,
    seed: int,
) -> Exploration:
    """Draw up to `examples` recipes from `seed` and run them, up to the first new failure, which is shrunk.

    The same seed set, seed and answers of the platforms give the same cases. Raises `NoTruth` where the oracle cannot
    say what is right.
    """
    driver = _Driver(seed_set, runner, sink, options, stop, examples)
    configured = settings(
        max_examples=max(1, examples // driver.variants),
        database=None,
        deadline=None,
        phases=(HypothesisPhase.generate, *driver.steering, HypothesisPhase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis_seed(seed)
    @configured
    @given(recipes(seed_set, dtypes=options.dtypes, phases=options.phases))
    def test(recipe: Recipe) -> None:
        driver.run(recipe)

    # What Hypothesis itself takes is part of generating.
    with runner.stopwatch.booking("generate"):
        try:
            with own_hypothesis_home(), with_reporter(lambda text: None):
                test()
        except (_Enough, _Failing, Flaky, Unsatisfiable):
            pass
    if driver.unjudged is not None:
        raise driver.unjudged
    return Exploration(driver.tried, driver.failure)


class _Driver:
    """Handles each recipe that Hypothesis draws: a trial until something fails, a step of shrinking after."""

    def __init__(
        self,
        seed_set: SeedSet,
        runner: DifferentialRunner,
        sink: FailureSink,
        options: FuzzOptions,
        stop: Stop,
        examples: int,
    ) -> None:
        self._seed_set, self._runner, self._sink, self._options, self._stop = seed_set, runner, sink, options, stop
        self.variants = max(1, min(_VARIANTS, len(seed_set.seeds), examples))
        self.steering = (HypothesisPhase.target,) if options.steer and examples >= _STEER_FROM else ()
        self.tried = 0
        self.failure: Failure | None = None
        self.unjudged: NoTruth | None = None
        self._shrink_until = math.inf

    def run(self, recipe: Recipe) -> None:
        """Try or shrink; raises what tells Hypothesis to go on, to shrink or to end."""
        try:
            if self.failure is None:
                self._draw(recipe)
            else:
                self._shrink(recipe, self.failure)
        except NoTruth as error:  # which Hypothesis would take for a failure, and shrink
            self.unjudged = error
            raise _Enough from None

    def _draw(self, recipe: Recipe) -> None:
        if self._stop.expired():
            raise _Enough
        scores, before = [], self.tried
        for (number, variant), trial in self._runner.trials(self._realised(recipe)):
            self.tried = before + number
            if trial.results:
                self._sink.tried(trial)
            scores += [_score(result) for result in trial.results]
            for result in trial.results:
                self._claim(result, variant)
            if self._stop.expired():
                raise _Enough
        self.tried = before + self.variants
        if not scores:
            reject()
        if self.steering:
            target(max(scores))

    def _claim(self, result: Result, recipe: Recipe) -> None:
        """Stop drawing where a result is a failure that the sink wants."""
        fingerprint = self._sink.fingerprint(result, self._seed_set)
        if fingerprint is not None and self._sink.claim(fingerprint):
            self.failure = Failure(fingerprint, result, result, self._seed_set, recipe)
            # At once and without a reproducer, which takes the platform's time: a kill must not lose the finding.
            self._sink.found(self.failure)
            self._shrink_until = time.monotonic() + self._options.shrink_seconds
            raise _failing(fingerprint)

    def _shrink(self, recipe: Recipe, failure: Failure) -> None:
        for variant in self._on_recorded_cases(recipe):
            if time.monotonic() > self._shrink_until:
                raise _Enough
            with self._runner.stopwatch.booking("reduce"):
                case = realise(variant, self._seed_set, self._options.max_elements)
                results = () if case is None else self._results(case, failure)
            for result in results:
                if self._sink.fingerprint(result, self._seed_set) == failure.fingerprint:
                    self.failure = replace(failure, best=result, recipe=variant)
                    raise _failing(failure.fingerprint)

    def _results(self, case: Case, failure: Failure) -> tuple[Result, ...]:
        """The failing platform's results; none of a case that cannot be judged, since nobody can say that it fails."""
        try:
            return self._runner.trial(case, failure.best.platform).results
        except NoTruth:
            if not self._runner.judges(failure.best.case):
                raise _Enough from None
            return ()

    def _on_recorded_cases(self, recipe: Recipe) -> Iterator[Recipe]:
        """The recipe on several recorded cases in turn, with other random values on each."""
        for offset in range(self.variants):
            number = (recipe.seed_index + offset) % len(self._seed_set.seeds)
            yield msgspec.structs.replace(recipe, seed_index=number, rng_seed=recipe.rng_seed + offset)

    def _realised(self, recipe: Recipe) -> Iterator[tuple[Case, tuple[int, Recipe]]]:
        """Cases on which to try a drawn recipe, with the number and the recipe of each; not every recipe gives one."""
        for number, variant in enumerate(self._on_recorded_cases(recipe), 1):
            case = realise(variant, self._seed_set, self._options.max_elements)
            if case is not None:
                yield case, (number, variant)


def _score(result: Result) -> float:
    ratio = result.verdict.metrics.ratio
    return max(-20.0, min(20.0, math.log10(ratio))) if ratio > 0 and math.isfinite(ratio) else -20.0


_classes: dict[str, type[_Failing]] = {}


def _failing(fingerprint: str) -> _Failing:
    if fingerprint not in _classes:
        _classes[fingerprint] = type(f"Failing_{len(_classes)}", (_Failing,), {})
    return _classes[fingerprint](fingerprint)
