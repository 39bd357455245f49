"""`offload LIBRARY LIBRARY`: from one compiled Relax library to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.offload import settled

if TYPE_CHECKING:
    from tapml_fuzz.offload.fused.report import LibrariesReport
    from tapml_fuzz.offloading_libraries import LibraryEvent


def walk_libraries(
    a: Path, b: Path, inputs: Path, main: str, order: str, resume: bool, output: Path, json_path: Path | None
) -> int:
    """Walk, print and write the summary; 1 when anything of B is not as A."""
    from tapml_fuzz.offloading_libraries import LibraryOptions, offload_libraries, read_inputs
    from tapml_fuzz.reporting.files import as_json
    from tapml_fuzz.storage.tensors import write_atomically

    options = LibraryOptions(main=main, order=order, resume=resume)
    report = offload_libraries(a, b, read_inputs(inputs), options, output, _listen)
    text = as_json(report.summary()) + "\n"
    write_atomically(output / "offload.json", text.encode())
    if json_path is not None:
        json_path.write_text(text)
    _print(report, output)
    return 1 if report.blocked or report.notes or report.failure else 0


def _listen(event: LibraryEvent) -> None:
    from tapml_fuzz.offload.walk import Settled
    from tapml_fuzz.offloading_libraries import Surveying

    match event:
        case Surveying(text):
            click.echo(text)
        case Settled():
            settled(event)


def _print(report: LibrariesReport, output: Path) -> None:
    moved = sum(unit.status == "moved" for unit in report.units)
    click.echo(f"{moved} of {len(report.units)} functions are as right in {report.walk.target}, {report.seconds:.0f} s")
    for unit in report.blocked:
        click.echo(f"  {unit.status} {unit.key}: {unit.reason}")
    for note in report.notes:
        click.echo(f"  {note}")
    if report.final is None:
        click.echo(f"with them, {report.walk.source} does not run: {report.failure}")
    else:
        worst = report.final.worst
        click.echo(f"with them, the worst value is {worst.value} at {worst.ratio:.2g} of what is allowed")
    click.echo(f"summary: {output / 'offload.json'}")
