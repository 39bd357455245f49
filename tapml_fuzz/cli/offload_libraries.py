"""`offload LIBRARY LIBRARY`: from one compiled Relax library to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.offload_ending import ending, settled, worst, write

if TYPE_CHECKING:
    from tapml_fuzz.api.offloading_libraries import LibraryEvent
    from tapml_fuzz.offload.fused.report import LibrariesReport


def walk_libraries(
    a: Path, b: Path, inputs: Path, main: str, order: str, resume: bool, output: Path, json_path: Path | None
) -> int:
    """Walk, print and write the summary; 1 when anything of B is not as A."""
    from tapml_fuzz.api.offloading_libraries import LibraryOptions, offload_libraries, read_inputs

    options = LibraryOptions(main=main, order=order, resume=resume)
    report = offload_libraries(a, b, read_inputs(inputs), options, output, _listen)
    write(report.summary(), output, json_path)
    _print(report, output)
    return 1 if report.blocked or report.notes or report.failure else 0


def _listen(event: LibraryEvent) -> None:
    from tapml_fuzz.api.offloading_libraries import Surveying
    from tapml_fuzz.offload.walk import Settled

    match event:
        case Surveying(text):
            click.echo(text)
        case Settled():
            settled(event)


def _print(report: LibrariesReport, output: Path) -> None:
    moved = sum(unit.status == "moved" for unit in report.units)
    first = f"{moved} of {len(report.units)} functions are as right in {report.walk.target}, {report.seconds:.0f} s"
    if report.final is None:
        last = f"with them, {report.walk.reference} does not run: {report.failure}"
    else:
        last = f"with them, the worst value is {worst(report.final)} of what is allowed"
    ending(first, report, output, last, report.notes)
    click.echo(f"summary: {output / 'offload.json'}")
