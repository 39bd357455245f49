"""How many planted faults are found, how soon, and how often a correct implementation is accused.

    python -m benchmarks.detection.run --quick
    python -m benchmarks.detection.run --json detection.json --plot detection.svg

Prints tables, writes JSON and an SVG of recall against trials. The full run takes most of an hour on two cores, the
quick one five minutes. Rows are appended to `--rows` as they come; with the same file a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track

from benchmarks.detection import work
from benchmarks.detection.labels import Label, labels
from benchmarks.detection.methods import METHODS, OURS
from benchmarks.detection.plot import plot
from benchmarks.detection.report import summary, table
from benchmarks.detection.rows import Row, append, load

_QUICK_LABELS = 4  # the quick run labels one fault in so many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 seeds of 100 trials, fewer faults compared")
    parser.add_argument("--seeds", type=int, help="of every run")
    parser.add_argument("--trials", type=int, help="of every run")
    parser.add_argument("--methods", help=f"comma-separated, default all: {', '.join(METHODS)}")
    parser.add_argument("--only", help="comma-separated names of faults and controls")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default 2)")
    parser.add_argument("--no-labels", action="store_true", help="leave out the realism labels, which need reduction")
    parser.add_argument("--rows", type=Path, help="raw results, one JSON object a line; continued if it exists")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    size = work.resized(work.QUICK if options.quick else work.FULL, options.seeds, options.trials)
    methods = options.methods.split(",") if options.methods else list(METHODS)
    names = options.only.split(",") if options.only else None
    began, resumed = time.monotonic(), options.rows is not None and options.rows.exists()
    with tempfile.TemporaryDirectory() as scratch:
        rows = conduct(list(work.tasks(size, methods, names)), options.rows or Path(scratch, "rows"), options.workers)
    tried = {r.name for r in rows if r.what == "fault" and (r.method != OURS or len(methods) == 1)}
    # Labels need reduction, which takes a second or two each.
    asked = sorted(tried)[:: _QUICK_LABELS if options.quick else 1]
    found = [] if options.no_labels else labelled(asked, size, options.workers)
    result = summary(rows, found, size.trials, command())
    if not resumed:
        result["minutes"] = round((time.monotonic() - began) / 60, 1)
    print(table(result))
    told(result)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    if options.plot:
        plot(rows, size.trials, options.plot)


def command() -> str:
    """The command line, without where the raw rows lie."""
    given = sys.argv[1:]
    if "--rows" in given:
        place = given.index("--rows")
        del given[place : place + 2]
    return " ".join(["python -m benchmarks.detection.run", *given])


def conduct(todo: list[work.Task], path: Path, workers: int) -> list[Row]:
    """Make the runs that the file does not hold yet; every row of what was asked for."""
    done = {row.key: row for row in load(path)}
    wanted = {(t.method, t.what, t.name, seed, t.mode) for t in todo for seed in t.seeds}
    left = [t for t in todo if any((t.method, t.what, t.name, s, t.mode) not in done for s in t.seeds)]
    finished = work.run(left, workers)
    for rows in track(finished, "runs", total=len(left), console=Console(stderr=True)):
        append(path, rows)
        done |= {row.key: row for row in rows}
    return [row for key, row in done.items() if key in wanted]


def labelled(names: list[str], size: work.Size, workers: int) -> list[Label]:
    """The realism labels of faults."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=work.quiet) as pool:
        return labels(names, size.trials, pool)


def told(result: dict[str, Any]) -> None:
    """What the tables leave out: the targets, what was missed, who was accused, wrong labels, what could not run."""
    for target in result["targets"]:
        print(f"{'met    ' if target['met'] else 'NOT MET'} {target['target']}: {target['measured']}")
    for title in ("missed", "accused", "labels", "not_run"):
        print(f"{title}: {msgspec.json.encode(result[title]).decode()}")


if __name__ == "__main__":
    main()
