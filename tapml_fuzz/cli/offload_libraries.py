"""`offload libraries`: move from one compiled Relax library to another, function by function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.offload_ending import ending, settled, worst, write_reports
from tapml_fuzz.cli.options import json_option, order_option, output_option, resume_option

if TYPE_CHECKING:
    from tapml_fuzz.api.offload_libraries import LibraryEvent
    from tapml_fuzz.offload.fused.report import LibrariesReport


@click.command(short_help="From one compiled Relax library to another, function by function.")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option(
    "--inputs", required=True, type=click.Path(path_type=Path), help="The inputs of --main, as safetensors, by name."
)
@click.option("--main", default="main", show_default=True, help="The function of both libraries that runs.")
@order_option
@resume_option
@output_option
@json_option(stdout=False)
def libraries(
    a: Path, b: Path, inputs: Path, main: str, order: str, resume: bool, output: Path, json_path: Path | None
) -> int:
    """Move from library A to library B, fused function by fused function, and pin every fault to one of them.

    Both are shared libraries that Relax has compiled (export_library), of one model for two targets, say. Each function
    of B is compared with A's on A's own calls, then runs inside A's model. Their code is run, as they will ship: name
    only libraries that you would run.

    \b
    Examples:
      python -m tapml_fuzz offload libraries llvm.so cuda.so --inputs inputs.safetensors
      python -m tapml_fuzz offload libraries old.so new.so --inputs inputs.safetensors --main prefill --output walk
    """
    from tapml_fuzz.api.offload_libraries import LibraryOptions, offload_libraries, read_inputs

    options = LibraryOptions(main=main, order=order, resume=resume)
    report = offload_libraries(a, b, read_inputs(inputs), options, output, _listen)
    write_reports(report.summary(), output, json_path)
    _print(report, output)
    return 1 if report.blocked or report.notes or report.failure else 0


def _listen(event: LibraryEvent) -> None:
    from tapml_fuzz.api.offload_libraries import Surveying
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
