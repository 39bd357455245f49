"""Events of a campaign as typed records: the engine emits them, reports consume them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tapml_fuzz.core.summary import RunSummary


@dataclass(frozen=True)
class CampaignStarted:
    """The first event: names of the platforms and keys of the operators that take part."""

    version: str
    seed: int
    budget: str
    reference: str
    platforms: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class PlatformUnavailable:
    """A platform cannot take part; `hint` says how to get it."""

    platform: str
    reason: str
    hint: str


@dataclass(frozen=True)
class PlatformLost:
    """A platform on another machine no longer answers; the campaign goes on with the others and keeps asking."""

    platform: str
    reason: str


@dataclass(frozen=True)
class PlatformReturned:
    """It answers again and is used again."""

    platform: str


@dataclass(frozen=True)
class OperatorUnjudged:
    """The oracle cannot say what is right for an operator; the campaign goes on with the others."""

    operator: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """Sent after every slice of work; `fraction` is the share of the budget used, 0 to 1."""

    operator: str
    trials: int
    findings: int
    fraction: float


@dataclass(frozen=True)
class FindingFound:
    """A new failure, before reduction; `finding` is its record (see `storage.findings.FindingRecord`)."""

    finding: Any


@dataclass(frozen=True)
class FindingReduced:
    """A finding after its reduction; `finding` is its record, with the reduced case."""

    finding: Any


@dataclass(frozen=True)
class FindingMerged:
    """Reduction showed that finding `id` is the finding `into`, which is known."""

    id: str
    into: str


@dataclass(frozen=True)
class CampaignFinished:
    """The last event of a campaign, whether it used its budget or was interrupted; `summary` says which."""

    summary: RunSummary = field(repr=False)


Event = (
    CampaignStarted
    | PlatformUnavailable
    | PlatformLost
    | PlatformReturned
    | OperatorUnjudged
    | Progress
    | FindingFound
    | FindingReduced
    | FindingMerged
    | CampaignFinished
)
Listener = Callable[[Event], None]
