"""Whole models walked to whole platforms: what moved, what is blocked and by what, how long it took.

    python benchmarks/offload/walk.py --to tvm-llvm --to tvm-opencl --output DIR --json FILE MODEL...

Each walk is the command line's `offload`, so what ends a process costs one operator. MODEL is a directory or an
installed package; those of `train.py` are decoders of many architectures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_SENTENCES = Path(__file__).resolve().parents[2] / "corpus" / "sentences" / "english_and_more.txt"
_COLUMNS = ("model", "platform", "units", "moved", "unsupported", "blocked", "source nodes", "final", "wall")


def walk(model: str, source: str, target: str, folder: Path, batches: int) -> dict[str, Any]:
    """One walk's figures; `error` has the last line of what was said where it did not end."""
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "offload.json"
    result.unlink(missing_ok=True)
    command = ["offload", model, "--inputs", str(_SENTENCES), "--from", source, "--to", target]
    command += ["--batches", str(batches), "--output", str(folder)]
    began = time.monotonic()
    with (folder / "said.txt").open("w") as said:
        subprocess.run([sys.executable, "-m", "tapml_fuzz", *command], stdout=said, stderr=said, check=False)
    row: dict[str, Any] = {"model": Path(model).name, "source": source, "platform": target}
    row["wall_s"] = round(time.monotonic() - began, 1)
    if not result.is_file():
        return {**row, "error": (folder / "said.txt").read_text().strip().splitlines()[-1:]}
    return {**row, **figures(json.loads(result.read_text()))}


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a walk's summary says, without its graph."""
    stay = [unit for unit in summary["units"] if unit["status"] != "moved"]
    return {
        "units": len(summary["units"]),
        "moved": summary["moved"],
        "unsupported": summary["unsupported"],
        "blocked": summary["blocked"],
        "nodes": len(summary["nodes"]),
        "source_nodes": summary["source_nodes"],
        "final": summary["final"],
        "versions": summary["versions"],
        "stay": [
            {name: unit.get(name) for name in ("operator", "key", "status", "where", "reason", "findings", "partners")}
            for unit in stay
        ],
    }


def line(row: Mapping[str, Any]) -> list[str]:
    """A row of the table."""
    if "error" in row:
        told = f"did not end: {' '.join(row['error'])}"
        return [row["model"], row["platform"], *["-"] * 5, told, f"{row['wall_s']}s"]
    final = row["final"]
    seen = final.get("seen") or final.get("failure", "")
    told = f"{'outside' if final['failed'] else 'within'} its bound ({final.get('worst', 0):.2g}); {seen}"
    counts = [str(row[name]) for name in ("units", "moved", "unsupported", "blocked")]
    return [row["model"], row["platform"], *counts, f"{row['source_nodes']}/{row['nodes']}", told, f"{row['wall_s']}s"]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown, and a line under them for every operator that stayed, and why."""
    cells = [list(_COLUMNS), ["---"] * len(_COLUMNS), *(line(row) for row in rows)]
    reasons = [
        f"- {row['model']} on {row['platform']}: {unit['status']} {unit['operator']}: {unit['reason']}"
        for row in rows
        for unit in row.get("stay", ())
    ]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in cells), *([""] if reasons else []), *reasons])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--to", action="append", required=True, metavar="PLATFORM", help="repeatable")
    parser.add_argument("--from", dest="source", default="torch-cpu", metavar="PLATFORM")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder per walk goes here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for model in options.models:
        for target in options.to:
            folder = options.output / f"{Path(model).name}-{target.partition('@')[0]}"
            rows.append(walk(model, options.source, target, folder, options.batches))
            print(" ".join(line(rows[-1])), flush=True)
            if options.json:  # after every walk: the next may take long
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
