"""The reports a run leaves in its output directory: `report.json` for programs, `report.md` for people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tapml_fuzz.core.verdict import REALISMS
from tapml_fuzz.storage.tensors import write_atomically


def as_json(summary: dict[str, Any]) -> str:
    """Strict JSON: numbers that JSON does not have become null."""
    return json.dumps(_strict(summary), indent=2, allow_nan=False)


def write_reports(output: Path, summary: dict[str, Any]) -> None:
    """Write both reports, each atomically."""
    write_atomically(output / "report.json", as_json(summary).encode() + b"\n")
    write_atomically(output / "report.md", as_markdown(summary).encode())


def as_markdown(summary: dict[str, Any]) -> str:
    """A page for people: what ran, what was found, most realistic first."""
    lines = [
        "# tapml_fuzz report",
        "",
        f"{summary['trials']} trials ({summary['cases']} cases) in {summary['elapsed_s']:.0f} s, "
        f"seed {summary['seed']}, budget {summary['budget']}, reference platform {summary['reference']}"
        + (", interrupted." if summary["interrupted"] else "."),
        "",
        "| platform | device | trials | builds | findings |",
        "|---|---|---|---|---|",
    ]
    for name, facts in summary["platforms"].items():
        role = " (source)" if facts.get("reference") else ""
        cells = [name + role, facts.get("device", ""), facts["trials"], facts["builds"], facts["findings"]]
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    for name, facts in summary["platforms"].items():
        if facts.get("unreached"):
            lines += [
                "",
                f"{_cell(name)} did not answer for {facts['unreached']} cases, which it has not run.",
            ]
    if summary["unjudged"]:
        lines += ["", "## Operators that could not be judged", ""]
        for key, reason in summary["unjudged"].items():
            lines.append(f"- {_cell(key)}, {_cell(summary['operators'][key]['operator'])}: {_cell(reason)}")
    lines += ["", "## Findings", ""]
    if not summary["findings"]:
        lines.append("None.")
    else:
        lines += ["| id | operator | dtypes | kind | realism | ratio | elements | new |", "|---|" + "---|" * 7]
    for f in sorted(summary["findings"], key=lambda f: (REALISMS.index(f["realism"]), f["id"])):
        ratio = "-" if f["ratio"] is None else f"{f['ratio']:.3g}"
        dtypes = ",".join(dict.fromkeys(f["dtypes"]))
        link = f"[{_cell(f['id'])}]({f['reproducer']})" if f["reproducer"] else _cell(f["id"])
        cells = [f["operator"], dtypes, f["kind"], f["realism"], ratio, f["elements"], "yes" if f["new"] else "no"]
        lines.append(f"| {link} | {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("<", "&lt;").replace("[", "\\[").replace("`", "'")


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    return [_strict(v) for v in value] if isinstance(value, list | tuple) else value
