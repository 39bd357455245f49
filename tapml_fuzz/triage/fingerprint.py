"""Fingerprints: when two failures are the same finding."""

from __future__ import annotations

from tapml_fuzz.core.dtypes import is_float
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.storage.findings import finding_id
from tapml_fuzz.strategies import SeedSet, realism

_WHATEVER_THE_VALUES = ("build-error", "dtype")


def fingerprint_of(result: Result, seed_set: SeedSet) -> str | None:
    """The finding a result belongs to; None when nothing is wrong.

    Two failures are the same finding when platform, operator, kind, floating dtype and realism class (an input that
    a model could produce, or a special one) agree. What does not depend on values has no realism class.
    """
    verdict = result.verdict
    if verdict.kind is None:
        return None
    special = verdict.kind not in _WHATEVER_THE_VALUES and realism(result.case, seed_set) in ("special", "degenerate")
    return finding_id(result.platform, seed_set.operator, verdict.kind, float_dtype(result), special)


def float_dtype(result: Result) -> str:
    """The first floating dtype among a result's inputs, else their first dtype."""
    names = result.case.dtypes
    return next((d for d in names if is_float(d)), names[0] if names else "")
