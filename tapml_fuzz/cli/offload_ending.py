"""The lines that both walks of `offload` print while units settle, and when they have ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.options import DEFAULT_OUTPUT

if TYPE_CHECKING:
    from tapml_fuzz.core.walk_summary import WalkSummary
    from tapml_fuzz.offload.ledger import UnitResult
    from tapml_fuzz.offload.report import WalkReport
    from tapml_fuzz.offload.subject import ModelCheck
    from tapml_fuzz.offload.walk import Settled

_COLOURS = {"moved": "green", "blocked": "red", "unsupported": "yellow"}


def settled(event: Settled) -> None:
    """Print a line for the result of a unit."""
    result, end = event.result, "\x1b[K" if sys.stdout.isatty() else ""  # what is left of a longer line before
    click.echo(f"{event.number:>3}/{event.total} ", nl=False)
    click.secho(f"{result.status:<11}", fg=_COLOURS[result.status], nl=False)
    click.echo(f" {result.operator}{_tail(result)}{' (from the ledger)' if event.resumed else ''}{end}")


def _tail(result: UnitResult) -> str:
    if result.status == "moved":
        return f": {result.calls} calls, the model's worst value at {result.worst:.2g} of what is allowed"
    notices = {None: "", True: "; the model notices", False: "; the model does not notice"}[result.noticed]
    with_ = f"; only together with {', '.join(result.partners)}" if result.partners else ""
    return f": {result.reason}{with_}{notices if result.where == 'alone' else ''}"


def write_reports(summary: WalkSummary, output: Path, json_path: Path | None) -> None:
    """Write the reports of a walk into `output`, and its summary as JSON to `json_path`."""
    from tapml_fuzz.reporting.files import write_json, write_walk_reports

    write_walk_reports(output, summary)
    if json_path is not None:
        write_json(json_path, summary)


def ending(first: str, report: WalkReport, output: Path, last: str, notes: Sequence[str] = ()) -> None:
    """Print `first`, the units that stay behind with their reasons and findings, `notes`, and `last` on the whole."""
    click.echo(first)
    for unit in report.blocked:
        click.echo(f"  {unit.status} {unit.key}: {unit.reason}")
        for finding in unit.findings:
            where = "" if output == DEFAULT_OUTPUT else f" --output {output}"
            click.echo(f"    python -m tapml_fuzz findings show {finding}{where}")
    for note in notes:
        click.echo(f"  {note}")
    click.echo(last)


def worst(check: ModelCheck) -> str:
    """The value of a run that is furthest off, and its ratio to the bound, in words."""
    return f"{check.worst.value} at {check.worst.ratio:.2g}"
