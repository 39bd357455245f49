"""The facts about a failure that a finding states, whether it is filed or only shown."""

from __future__ import annotations

from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.verdict import COMPARED, Realism, more_realistic
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.storage.findings import Evidence, finite
from tapml_fuzz.strategies import realism


def evidence_of(result: Result) -> Evidence:
    """The tensors of a result: its case, the truth with its bounds, and the outputs, if there are any."""
    outputs = result.outcome.outputs if isinstance(result.outcome, Ok) else ()
    return Evidence(result.case, tuple(result.truth.values), outputs, result.bounds)


def ratio_of(result: Result) -> float | None:
    """max |actual - expected| / error bound; None where no distance tells, or where it is infinite."""
    return finite(result.verdict.metrics.ratio) if result.verdict.kind in COMPARED else None


def realism_of(failure: Failure) -> Realism:
    """The most realistic input that failed so: as it was found, or reduced."""
    found, best = failure.found.case, failure.best.case
    return more_realistic(realism(found, failure.seed_set), realism(best, failure.seed_set))
