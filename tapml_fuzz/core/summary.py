"""The summary of a campaign: made when it ends, and read by the JSON, the Markdown, the terminal and the exit code.

Its fields are the keys of `report.json` and of `run --json`. A field is added with a default, so that summaries
written before it are still read; one that is renamed or has another meaning raises `FORMAT`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tapml_fuzz.core.verdict import Kind, Realism

FORMAT = 1


class PairSummary(msgspec.Struct, frozen=True):
    """One operator on one candidate.

    `worst_passing_ratio` is the largest error of a passing trial over the error bound: 0 exact, at most 1.
    """

    trials: int
    worst_passing_ratio: float | None
    findings: int


class PlatformSummary(msgspec.Struct, frozen=True):
    """One platform over all operators; a reference platform has no trials of its own.

    Attributes:
        builds: operators compiled for it.
        unreached: cases during which it did not answer; refused: cases that it could not run, those included.
        refusal: why it could not run the first of them.
        device, versions: what it ran on and with.
    """

    trials: int
    findings: int
    builds: int
    unreached: int = 0
    refused: int = 0
    refusal: str = ""
    device: str = ""
    versions: dict[str, str] = {}
    reference: bool = False


class OperatorSummary(msgspec.Struct, frozen=True):
    """One operator signature; `operator` is its text for people, `platforms` has every candidate by name."""

    operator: str
    trials: int
    findings: int
    platforms: dict[str, PairSummary]


class TimeSummary(msgspec.Struct, frozen=True):
    """Seconds by what they were spent on, summed over the workers of the campaign."""

    generate: float = 0.0
    reference: float = 0.0
    candidate: float = 0.0
    oracle: float = 0.0
    build: float = 0.0
    reduce: float = 0.0


class FindingEntry(msgspec.Struct, frozen=True):
    """One finding as a summary lists it: the stored record's fields, and whether it is new to the output directory.

    `storage.findings.FindingRecord` says what the others mean. The line up to `message` is what the shortest of the
    older summaries has.
    """

    id: str
    platform: str
    operator: str
    kind: Kind
    realism: Realism
    ratio: float | None
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    elements: int
    message: str
    operator_key: str = ""
    found_elements: int = 0
    metrics: dict[str, Any] = {}
    origin: str = ""
    recipe: str = ""
    reduced: bool = False
    reduce_seconds: float = 0.0
    reproducer: str = ""
    versions: dict[str, str] = {}
    created: float = 0.0
    reference: str = "torch-cpu"
    new: bool = False


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign that has ended.

    Attributes:
        budget: as it was given, `60s` or `500trials`; `seed` likewise.
        interrupted: whether Ctrl-C ended it.
        elapsed_s: wall clock in seconds, without the start of the platforms; `time_s` is what it went into.
        trials: a trial is one case on one candidate; `cases` that were tried at all; `elements` of their inputs.
        platforms: by name, the reference platform first; operators: by key.
        unjudged: why the oracle cannot tell what is right, by the operator's key.
        findings: those met in this run, known ones too.
    """

    format: int = FORMAT
    version: str
    seed: int
    budget: str
    reference: str
    interrupted: bool = False
    elapsed_s: float
    trials: int
    cases: int
    elements: int
    builds: int
    time_s: TimeSummary
    platforms: dict[str, PlatformSummary]
    operators: dict[str, OperatorSummary] = {}
    unjudged: dict[str, str] = {}
    findings: tuple[FindingEntry, ...] = ()
