"""The reports that a run or a walk leaves in its output directory."""

from __future__ import annotations

from pathlib import Path

from tapml_fuzz.core.errors import naming
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.core.walk_summary import ModelWalkSummary, WalkSummary
from tapml_fuzz.reporting.formats.json import as_json
from tapml_fuzz.reporting.formats.markdown import as_markdown
from tapml_fuzz.reporting.formats.offload_html import as_html
from tapml_fuzz.storage.tensors import write_atomically

Summary = RunSummary | WalkSummary


def write_json(path: Path, summary: Summary) -> None:
    """Write a summary for programs to a file that the user has named. Raises `OSError` that names it."""
    with naming(path):
        path.write_text(as_json(summary) + "\n", encoding="utf-8")


def write_reports(output: Path, summary: RunSummary) -> None:
    """Write `report.json` for programs and `report.md` for people, each atomically."""
    write_atomically(output / "report.json", as_json(summary).encode() + b"\n")
    write_atomically(output / "report.md", as_markdown(summary).encode())


def write_walk_reports(output: Path, summary: WalkSummary) -> None:
    """Write `offload.json` for programs and, of a model, the page `offload.html`, each atomically."""
    write_atomically(output / "offload.json", as_json(summary).encode() + b"\n")
    if isinstance(summary, ModelWalkSummary):
        write_atomically(output / "offload.html", as_html(summary).encode())
