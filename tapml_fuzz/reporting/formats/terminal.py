"""Terminal output: live progress and tables where people look, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tapml_fuzz.core import events
from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.core.text import printable
from tapml_fuzz.core.verdict import REALISMS
from tapml_fuzz.storage.findings import Evidence, FindingRecord

# A line of progress this often where there is no terminal to draw a bar on, in seconds.
_QUIET = 10.0
_COLOURS = {"observed": "bold red", "near": "red", "extrapolated": "yellow", "special": "cyan", "degenerate": "cyan"}


class Terminal:
    """A listener to a campaign that prints findings to `file` (default: standard output).

    It is used as a context manager while a campaign runs.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._console = Console(file=file or sys.stdout, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last = 0.0

    def __enter__(self) -> Terminal:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[counts]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=1.0, counts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: events.Event) -> None:
        """Print the line of an event, or draw the progress that it tells; the events are those of `core.events`."""
        match event:
            case events.PlatformUnavailable(platform, reason, hint):
                self._print(f"{platform}: not available here: {reason}" + (f" ({hint})" if hint else ""), "dim")
            case events.PlatformLost(platform, reason):
                self._print(f"lost     {platform}: {reason}; going on without it", "yellow")
            case events.PlatformReturned(platform):
                self._print(f"back     {platform}", "dim")
            case events.OperatorUnjudged(operator, reason):
                self._print(f"unjudged {operator}: {reason}; going on without it", "yellow")
            case events.CampaignStarted():
                names = ", ".join(event.platforms)
                self._print(f"{len(event.operators)} operators on {names} against {event.reference}, {event.budget}")
            case events.Progress():
                self._progress(event)
            case events.FindingFound(record):
                self._print(f"found    {record.id}: {record.message}", _COLOURS[record.realism])
            case events.FindingReduced(record):
                ratio = "-" if record.ratio is None else f"{record.ratio:.3g}"
                size = f"{record.found_elements} -> {record.elements} elements"
                self._print(f"reduced  {record.id}: {record.realism}, ratio {ratio}, {size}", _COLOURS[record.realism])
            case events.FindingMerged(id_, into):
                self._print(f"merged   {id_}: reduced, it is {into}", "dim")
            case events.CampaignFinished(summary):
                self._finish(summary)

    def say(self, text: str) -> None:
        """Print the text on a line of its own."""
        self._print(text)

    def findings(self, records: list[FindingRecord]) -> None:
        """Print a table of findings, most realistic first; tab-separated lines with a heading in a pipe."""
        if not records:
            self._print("no findings")
            return
        headings = ("id", "operator", "dtypes", "kind", "realism", "ratio", "elements")
        rows = [(record, _cells(record)) for record in sorted(records, key=_order)]
        if not self._console.is_terminal:
            for cells in (headings, *(cells for _, cells in rows)):
                # Past the console, which makes spaces of tabs.
                print("\t".join(" ".join(printable(c).split()) for c in cells), file=self._console.file)
            return
        table = Table(box=None, pad_edge=False)
        for heading in headings:
            numeric = heading in ("ratio", "elements")
            table.add_column(heading, justify="right" if numeric else "left", no_wrap=heading == "id", overflow="fold")
        for record, cells in rows:
            table.add_row(*(Text(printable(cell)) for cell in cells), style=_COLOURS[record.realism])
        self._console.print(table)

    def finding(self, record: FindingRecord, evidence: Evidence, output: Path) -> None:
        """Print everything about one finding; `output` is the directory of its store."""
        ratio = "-" if record.ratio is None else f"{record.ratio:.4g}"
        self._print(record.id, "bold")
        self._print(f"  {record.operator}")
        self._print(f"  {record.platform}: {record.kind}, {record.realism} input, ratio {ratio}")
        self._print(f"  {record.message}")
        for number, (tensor, layout) in enumerate(zip(evidence.case.tensors, evidence.case.layouts, strict=True)):
            self._array(f"input {number}" + ("" if layout == "contiguous" else f" ({layout})"), tensor)
        for label, arrays in (("expected", evidence.expected), ("actual", evidence.actual)):
            for number, tensor in enumerate(arrays):
                self._array(f"{label} {number}", tensor)
        versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
        self._print(f"  found with {versions}; {record.found_elements} elements before reduction")
        self._print(f"  script: {output / record.reproducer}")

    def _array(self, label: str, array: Array) -> None:
        shown = array.astype(np.float64) if name_of(array) == "bfloat16" else array
        text = np.array2string(shown, threshold=40, prefix="    ", precision=9)
        self._print(f"  {label}: {name_of(array)}{list(array.shape)}\n    {text}")

    def _progress(self, event: events.Progress) -> None:
        counts = f"{event.trials} trials, {event.findings} findings"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=event.fraction, description=event.operator[:40], counts=counts)
        elif time.monotonic() - self._last > _QUIET:
            self._last = time.monotonic()
            self._print(f"{event.fraction:4.0%}  {counts}")

    def _finish(self, summary: RunSummary) -> None:
        state = "interrupted after" if summary.interrupted else "done:"
        self._print(
            f"{state} {summary.trials} trials, {summary.builds} builds, {summary.elapsed_s} s, "
            f"{len(summary.findings)} findings ({sum(f.new for f in summary.findings)} new)"
        )
        for name, platform in summary.platforms.items():
            if not platform.reference:
                missed = f", {platform.unreached} cases missed: it did not answer" if platform.unreached else ""
                self._print(f"  {name}: {platform.trials} trials, {platform.findings} findings{missed}")
            elif platform.findings:
                self._print(f"  {name} (reference platform): {platform.findings} findings")
        for key, reason in summary.unjudged.items():
            self._print(f"  unjudged {key}, {summary.operators[key].operator}: {reason}", "yellow")

    def _print(self, text: str, style: str = "") -> None:
        # Text, not markup: what findings and files say is never interpreted.
        self._console.print(Text(printable(text), style=style))


def _order(record: FindingRecord) -> tuple[int, str]:
    return REALISMS.index(record.realism), record.id


def _cells(record: FindingRecord) -> tuple[str, ...]:
    ratio = "-" if record.ratio is None else f"{record.ratio:.3g}"
    dtypes = ",".join(dict.fromkeys(record.dtypes))
    return (record.id, record.operator, dtypes, record.kind, record.realism, ratio, str(record.elements))
