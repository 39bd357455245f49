"""Rows about walks: what a summary or an unfinished ledger says, and the table that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tapml_fuzz.core.walk_summary import FinalModelRun, ModelWalkSummary, UnitSummary
from tapml_fuzz.offload.ledger import Ledger, UnitResult, Walk

_COLUMNS = ("model", "platform", "units", "moved", "unsupported", "blocked", "source nodes", "final", "wall")
_STATUSES = ("moved", "unsupported", "blocked")
_TOLD = ("operator", "key", "status", "where", "reason", "findings", "partners", "noticed", "worst")


def figures(summary: ModelWalkSummary) -> dict[str, Any]:
    """What an ended walk's summary says, without its graph."""
    return {
        **_settled(summary.units),
        "units": len(summary.units),
        "nodes": len(summary.nodes),
        "source_nodes": summary.reference_nodes,
        "final": msgspec.to_builtins(summary.final),
        "versions": summary.versions,
    }


def unfinished(folder: Path) -> dict[str, Any]:
    """What the ledger in `folder` says of a walk that did not end; `settled` is how many units it has."""
    lines = Ledger(folder).lines()
    units = {line.key: line for line in lines if isinstance(line, UnitResult)}
    versions = lines[0].versions if lines and isinstance(lines[0], Walk) else {}
    return {**_settled(list(units.values())), "settled": len(units), "versions": versions}


def line(row: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    counts = [str(row.get(name, "-")) for name in ("units", *_STATUSES)]
    wall = f"{row['wall_s']}s"
    if "error" in row:
        of = f"{row['settled']} of {row['units'] or '?'} units settled"
        return [row["model"], row["platform"], *counts, "-", f"did not end ({of}): {row['error']}", wall]
    final = msgspec.convert(row["final"], FinalModelRun)
    worst = "inf" if final.worst is None else f"{final.worst:.2g}"
    told = f"{'outside' if final.failed else 'within'} its bound ({worst}); {final.seen}"
    if final.failure:
        told = f"does not run: {final.failure}"
    return [row["model"], row["platform"], *counts, f"{row['source_nodes']}/{row['nodes']}", told, wall]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown, and a line under them for every operator that stayed, and why; then what ran."""
    cells = [list(_COLUMNS), ["---"] * len(_COLUMNS), *(line(row) for row in rows)]
    reasons = [
        f"- {row['model']} on {row['platform']}: {unit['status']} {unit['operator']}: {unit['reason']}"
        f"{' (' + ', '.join(unit['findings']) + ')' if unit['findings'] else ''}"
        for row in rows
        for unit in row["stay"]
    ]
    parts = sorted({f"{part} {version}" for row in rows for part, version in row["versions"].items()})
    below = [*([""] if reasons else []), *reasons, *(["", f"Ran with: {'; '.join(parts)}"] if parts else [])]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in cells), *below])


def _settled(units: Sequence[UnitSummary]) -> dict[str, Any]:
    counts = {status: sum(unit.status == status for unit in units) for status in _STATUSES}
    stay = [{name: getattr(unit, name) for name in _TOLD} for unit in units if unit.status != "moved"]
    return {**counts, "stay": stay}
