"""The result of a walk, as data: for JSON, the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

from tapml_fuzz.core.walk_summary import (
    FinalModelRun,
    ModelWalkSummary,
    NodeSummary,
    RecordingSummary,
    Status,
    UnitSummary,
)
from tapml_fuzz.offload.ledger import UnitResult, Walk
from tapml_fuzz.offload.subject import ModelCheck, Subject


@dataclass(frozen=True, kw_only=True)
class WalkReport:
    """The part of a report that every finished walk has.

    Attributes:
        walk: what moved where; `units` what became of each, in the order walked.
        final: the model with every moved unit on the target, beside the reference run; None where it did not run,
            with `failure` saying why.
        seconds: wall clock, of this run alone when it was resumed.
    """

    walk: Walk
    units: tuple[UnitResult, ...]
    final: ModelCheck | None
    failure: str
    seconds: float

    @property
    def blocked(self) -> tuple[UnitResult, ...]:
        """Units that stay on the reference platform, those first whose fault the model notices."""
        stay = [unit for unit in self.units if unit.status != "moved"]
        return tuple(sorted(stay, key=lambda u: (u.status == "unsupported", not u.noticed, -(u.worst or 0.0))))

    def settled(self) -> dict[str, Any]:
        """The fields that the summary of every walk has, by name."""
        walk, states = self.walk, [unit.status for unit in self.units]
        return {
            "model": walk.model,
            "digest": walk.digest,
            "reference": walk.reference,
            "target": walk.target,
            "versions": walk.versions,
            "units": tuple(UnitSummary(**msgspec.structs.asdict(unit)) for unit in self.units),
            **{status: states.count(status) for status in get_args(Status)},
            "elapsed_s": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class OffloadReport(WalkReport):
    """A finished walk of a model's graph, `subject`."""

    subject: Subject = field(repr=False)

    @property
    def reference_nodes(self) -> int:
        """Nodes that still run on the reference platform, in some recording at least."""
        moved = {unit.key for unit in self.units if unit.status == "moved"}
        recordings = self.subject.recordings
        return len({(r.graph, step.name) for r in recordings for step in r.steps if step.operator.key not in moved})

    @property
    def total_nodes(self) -> int:
        """Operator calls of every graph."""
        return len({(r.graph, step.name) for r in self.subject.recordings for step in r.steps})

    def summary(self) -> ModelWalkSummary:
        """The walk as it is written and shown."""
        return ModelWalkSummary(
            **self.settled(),
            task=self.subject.task,
            recordings=tuple(RecordingSummary(r.label, len(r.steps), r.on_host) for r in self.subject.recordings),
            nodes=tuple(self._nodes()),
            reference_nodes=self.reference_nodes,
            final=self._final(),
        )

    def _nodes(self) -> Iterator[NodeSummary]:
        """The first recording of every graph: where each node ended, and its distance in the final run."""
        status = {unit.key: unit.status for unit in self.units}
        grown = self.final.grown if self.final else ()
        ratios = {(g.recording, g.step): g.ratio for g in reversed(grown)}
        graphs = {r.graph: n for n, r in reversed(list(enumerate(self.subject.recordings)))}
        for graph, number in sorted(graphs.items(), key=lambda pair: pair[1]):
            for step in self.subject.recordings[number].steps:
                key, ratio = step.operator.key, ratios.get((number, step.name))
                yield NodeSummary(graph, step.name, step.module, key, status[key], ratio)

    def _final(self) -> FinalModelRun:
        if self.final is None:
            return FinalModelRun(failed=True, failure=self.failure)
        copied: Counter[str] = Counter()
        for traffic in self.final.traffic:
            copied.update({f"{a} -> {b}": count for (a, b), count in traffic.copied.items()})
        return FinalModelRun(
            failed=self.final.failed,
            worst=self.final.worst.ratio,
            worst_value=self.final.worst.value,
            view=self.final.view,
            seen=str(self.final.view),
            node_seconds=round(sum(sum(t.seconds) for t in self.final.traffic), 4),
            copied_bytes=dict(copied),
            shared_tensors=sum(t.shared for t in self.final.traffic),
        )
