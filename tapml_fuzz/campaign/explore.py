"""Hypothesis as the driver: draws recipes, steers toward large error ratios, shrinks the recipe that fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, reject, settings, target
from hypothesis import Phase as HypothesisPhase
from hypothesis import seed as hypothesis_seed
from hypothesis.errors import Flaky, Unsatisfiable
from hypothesis.reporting import with_reporter

from strategies import PHASES, Recipe, Source, realise, recipes
from strategies.recipes import Phase
from tapml_fuzz.campaign.bench import Bench, Result
from tapml_fuzz.core.case import Case

# Steering pays only when there are enough examples to climb from.
_STEER_FROM = 60


class _Failing(Exception):
    """Tells Hypothesis that a recipe fails; one subclass per identity, so that failures are not mixed up."""


class _Enough(BaseException):
    """Ends a Hypothesis run at once: time is up. No `Exception`, so that Hypothesis does not take it for a failure."""


@dataclass
class Exploration:
    """What one run of `explore` did and, if something new failed, the result found and the smallest failing recipe."""

    examples: int = 0
    identity: str | None = None
    recipe: Recipe | None = None
    result: Result | None = None
    found: Result | None = None


def explore(
    source: Source,
    bench: Bench,
    *,
    examples: int,
    seed: int,
    identify: Callable[[Result], str | None],
    is_new: Callable[[str], bool],
    dtypes: Sequence[str] = (),
    phases: Sequence[Phase] = PHASES,
    strided: bool = True,
    max_elements: int = 16384,
    expired: Callable[[], bool] = lambda: False,
    shrink_seconds: float = 2.0,
    on_trial: Callable[[list[Result]], None] = lambda results: None,
    on_found: Callable[[str, Recipe, Result], None] = lambda identity, recipe, result: None,
) -> Exploration:
    """Draw up to `examples` recipes and run them; stop at the first new failure and shrink its recipe.

    `identify` gives the identity of a failure (None for a pass), `is_new` says whether to stop for it; `expired`
    says when to stop drawing. The same source, seed and platforms' answers give the same cases.
    """
    run = Exploration()
    shrink_until = math.inf

    def body(recipe: Recipe) -> None:
        nonlocal shrink_until
        if (time.monotonic() > shrink_until) if run.identity else expired():
            raise _Enough
        began = time.perf_counter()
        case = realise(recipe, source, max_elements)
        bench.times.generate += time.perf_counter() - began
        if case is None:
            reject()
        if run.identity is None:
            _explore_one(recipe, case)
            if run.identity is not None:
                shrink_until = time.monotonic() + shrink_seconds
                raise _failing(run.identity)
        elif _still_fails(recipe, case):
            raise _failing(run.identity)

    def _explore_one(recipe: Recipe, case: Case) -> None:
        results = bench.trial(case)
        run.examples += 1
        if not results:
            reject()
        on_trial(results)
        for result in results:
            identity = identify(result)
            if identity is not None and is_new(identity):
                run.identity, run.recipe, run.result, run.found = identity, recipe, result, result
                on_found(identity, recipe, result)
                return
        if examples >= _STEER_FROM:
            target(max(_score(r) for r in results))

    def _still_fails(recipe: Recipe, case: Case) -> bool:
        assert run.result is not None
        with bench.reducing():
            results = bench.trial(case, only=run.result.platform)
        for result in results:
            if identify(result) == run.identity:
                run.recipe, run.result = recipe, result
                return True
        return False

    steered = (HypothesisPhase.target,) if examples >= _STEER_FROM else ()
    configured = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(HypothesisPhase.generate, *steered, HypothesisPhase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    strategy = recipes(source, dtypes=dtypes, phases=phases, strided=strided)
    test = hypothesis_seed(seed)(configured(given(strategy)(body)))
    began, before = time.perf_counter(), _spent(bench)
    try:
        with with_reporter(lambda text: None):
            test()
    except (_Enough, _Failing, Flaky, Unsatisfiable):
        pass
    # What Hypothesis itself took is part of generating.
    bench.times.generate += max(0.0, time.perf_counter() - began - (_spent(bench) - before))
    return run


def _spent(bench: Bench) -> float:
    times = bench.times
    return times.generate + times.reference + times.candidate + times.oracle + times.build + times.reduce


def _score(result: Result) -> float:
    ratio = result.verdict.metrics.ratio
    return max(-20.0, min(20.0, math.log10(ratio))) if ratio > 0 and math.isfinite(ratio) else -20.0


_classes: dict[str, type[_Failing]] = {}


def _failing(identity: str) -> _Failing:
    if identity not in _classes:
        _classes[identity] = type(f"Failing_{len(_classes)}", (_Failing,), {})
    return _classes[identity](identity)
