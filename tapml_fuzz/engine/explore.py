"""Hypothesis as the driver: draws recipes, steers toward large error ratios, shrinks the recipe that fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, given, reject, settings, target
from hypothesis import Phase as HypothesisPhase
from hypothesis import seed as hypothesis_seed
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.reporting import with_reporter

from tapml_fuzz.core.case import Case
from tapml_fuzz.engine.hypothesis_home import own_hypothesis_home
from tapml_fuzz.engine.runner import DifferentialRunner, Result
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.strategies import PHASES, Recipe, SeedSet, realise, recipes
from tapml_fuzz.strategies.recipes import Phase

# Steering pays only when there are enough examples to climb from.
_STEER_FROM = 60
# A drawn recipe is tried on this many recorded cases: drawing it costs Hypothesis about as much as running it.
_VARIANTS = 4


class _Failing(Exception):
    """Tells Hypothesis that a recipe fails; one subclass per identity, so that failures are not mixed up."""


class _Enough(BaseException):
    """Ends a Hypothesis run at once: time is up. No `Exception`, so that Hypothesis does not take it for a failure."""


@dataclass
class Exploration:
    """One run: recipes drawn around a source and run on a bench, up to the first new failure, which is shrunk.

    Attributes:
        examples: trials to make; seed: of the drawing.
        identify: gives the identity of a failure, None for a pass; claim: whether to stop for it.
        expired: when to stop drawing; shrink_seconds: how long to shrink a recipe.
        on_trial, on_found: hear of every result while exploring, and of the new failure before it is shrunk.
        tried: trials made. identity, found: the new failure. recipe, result: the smallest that still fails so.
    """

    seed_set: SeedSet
    runner: DifferentialRunner
    examples: int
    seed: int
    identify: Callable[[Result], str | None]
    claim: Callable[[str], bool]
    dtypes: Sequence[str] = ()
    phases: Sequence[Phase] = PHASES
    strided: bool = True
    steer: bool = True
    max_elements: int = 16384
    expired: Callable[[], bool] = lambda: False
    shrink_seconds: float = 2.0
    on_trial: Callable[[list[Result]], None] = lambda results: None
    on_found: Callable[[str, Recipe, Result], None] = lambda fingerprint, recipe, result: None
    tried: int = 0
    fingerprint: str | None = None
    recipe: Recipe | None = None
    result: Result | None = None
    found: Result | None = None
    _shrink_until: float = field(default=math.inf, repr=False)
    _unjudged: NoTruth | None = field(default=None, repr=False)

    def run(self) -> Exploration:
        """Draw, run and shrink; the same source, seed and answers of the platforms give the same cases.

        Raises `NoTruth` from the bench.
        """
        steered = (HypothesisPhase.target,) if self._steered else ()
        configured = settings(
            max_examples=max(1, self.examples // self._variants),
            database=None,
            deadline=None,
            phases=(HypothesisPhase.generate, *steered, HypothesisPhase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        strategy = recipes(self.seed_set, dtypes=self.dtypes, phases=self.phases, strided=self.strided)

        @hypothesis_seed(self.seed)
        @configured
        @given(strategy)
        def test(recipe: Recipe) -> None:
            try:
                self._draw(recipe) if self.fingerprint is None else self._shrink(recipe)
            except NoTruth as error:  # which Hypothesis would take for a failure, and shrink
                self._unjudged = error
                raise _Enough from None

        began, before = time.perf_counter(), self.runner.times.total
        try:
            with own_hypothesis_home(), with_reporter(lambda text: None):
                test()
        except (_Enough, _Failing, Flaky, Unsatisfiable):
            pass
        # What Hypothesis itself took is part of generating.
        own = time.perf_counter() - began - (self.runner.times.total - before)
        self.runner.times.generate += max(0.0, own)
        if self._unjudged is not None:
            raise self._unjudged
        return self

    @property
    def _steered(self) -> bool:
        return self.steer and self.examples >= _STEER_FROM

    @property
    def _variants(self) -> int:
        return max(1, min(_VARIANTS, len(self.seed_set.seeds), self.examples))

    def _on_recorded_cases(self, recipe: Recipe) -> Iterator[Recipe]:
        """The recipe on several recorded cases in turn, with other random values on each."""
        for offset in range(self._variants):
            number = (recipe.seed_index + offset) % len(self.seed_set.seeds)
            yield msgspec.structs.replace(recipe, seed_index=number, rng_seed=recipe.rng_seed + offset)

    def _draw(self, recipe: Recipe) -> None:
        if self.expired():
            raise _Enough
        scores, before = [], self.tried
        for (number, variant), results in self.runner.trials(self._realised(recipe)):
            self.tried = before + number
            if results:
                self.on_trial(results)
            scores += [_score(result) for result in results]
            for result in results:
                fingerprint = self.identify(result)
                if fingerprint is not None and self.claim(fingerprint):
                    self.fingerprint, self.recipe, self.result, self.found = fingerprint, variant, result, result
                    self.on_found(fingerprint, variant, result)
                    self._shrink_until = time.monotonic() + self.shrink_seconds
                    raise _failing(fingerprint)
            if self.expired():
                raise _Enough
        self.tried = before + self._variants
        if not scores:
            reject()
        if self._steered:
            target(max(scores))

    def _shrink(self, recipe: Recipe) -> None:
        assert self.fingerprint is not None
        assert self.result is not None
        for variant in self._on_recorded_cases(recipe):
            if time.monotonic() > self._shrink_until:
                raise _Enough
            with self.runner.reducing():
                case = realise(variant, self.seed_set, self.max_elements)
                results = [] if case is None else self.runner.trial(case, self.result.platform)
            for result in results:
                if self.identify(result) == self.fingerprint:
                    self.recipe, self.result = variant, result
                    raise _failing(self.fingerprint)

    def _realised(self, recipe: Recipe) -> Iterator[tuple[Case, tuple[int, Recipe]]]:
        """Cases on which to try a drawn recipe, with the number and the recipe of each; not every recipe gives one."""
        for number, variant in enumerate(self._on_recorded_cases(recipe), 1):
            began = time.perf_counter()
            case = realise(variant, self.seed_set, self.max_elements)
            self.runner.times.generate += time.perf_counter() - began
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
