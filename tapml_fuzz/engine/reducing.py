"""Reduction of a failure: the smallest case that still fails so, no less realistic and clearly wrong."""

from __future__ import annotations

import re
from dataclasses import replace

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.verdict import COMPARED, is_no_less_realistic
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.options import Stop
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.oracle import NoTruth
from tapml_fuzz.reduction import reduce_case
from tapml_fuzz.strategies import realism

# A reduced case stays this many times outside the error bound, if the failure was when it was found, and keeps this
# share of how far outside it was: a case that ends just outside the bound convinces nobody.
CLEARLY_WRONG = 4.0
KEPT_SEVERITY = 0.1


def reduced(failure: Failure, runner: DifferentialRunner, stop: Stop, seconds: float) -> Failure:
    """The failure on the smallest case that `seconds` find, with the platform's part of a reproducer."""
    seed_set, found, best = failure.seed_set, failure.found, failure.best
    level = realism(best.case, seed_set)
    # What two runs showed is looked for with two runs.
    repeat = best.verdict.kind == "nondeterministic"
    severity = best.verdict.metrics.ratio
    enough = min(severity, max(CLEARLY_WRONG, severity * KEPT_SEVERITY))
    oracle_works = True

    def fails(case: Case) -> bool:
        nonlocal best, level, oracle_works
        if stop.stopped() or not oracle_works:
            return False
        now = realism(case, seed_set)
        if not is_no_less_realistic(now, level):
            return False
        try:
            trial = runner.trial(case, only=found.platform, repeat=repeat)
        except NoTruth:  # of a case that cannot be judged nobody can say that it fails
            oracle_works = runner.judges(best.case)
            return False
        for result in trial.results:
            if _same_fault(result, found) and result.verdict.metrics.ratio >= enough:
                best, level = result, now
                return True
        return False

    with runner.stopwatch.booking("reduce"):
        reduction = reduce_case(best.case, fails, seconds=seconds)
    reproducer = runner.reproducer(best.platform, best.case)
    return replace(failure, best=best, reproducer=reproducer, seconds=reduction.seconds)


def _same_fault(result: Result, found: Result) -> bool:
    """The same platform and kind; where no comparison of values tells how, the same words too (numbers aside)."""
    if result.platform != found.platform or result.verdict.kind != found.verdict.kind:
        return False
    return result.verdict.kind in COMPARED or _words(result) == _words(found)


def _words(result: Result) -> str:
    return re.sub(r"[^a-z]+", " ", result.verdict.message.lower())[:60]
