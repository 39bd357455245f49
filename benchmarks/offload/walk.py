"""Whole models walked to whole platforms: what moved, what is blocked and by what, how long it took.

    python -m benchmarks.offload.walk --to tvm-llvm --to tvm-opencl --jobs 2 --budget 9m --output DIR MODEL...

Each walk is the command `offload model` in a process of its own with one OpenMP thread, `--jobs` of them at a time.
MODEL is a directory or an installed package; those of `train.py` are decoders of many architectures. What still runs
after `--budget` is stopped and told with what it had settled. The same command again goes on: walks that ended are
read from DIR, those that did not are resumed. A walk that fails ends no other.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.offload.walk_process import Job, Running
from benchmarks.offload.walk_table import line, table
from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.engine.budget import Budget

_POLL_S = 0.2
_PROGRESS_S = 30.0


def walk_all(
    jobs: Sequence[Job], at_once: int, seconds: float | None, keep: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Run every job, `at_once` at a time, and stop what runs after `seconds`; `keep` gets the rows after each."""
    began = told = time.monotonic()
    rows: dict[Job, dict[str, Any]] = {}
    running: list[Running] = []

    def settle(job: Job, row: dict[str, Any]) -> None:
        rows[job] = row
        print(f"{time.monotonic() - began:6.0f}s", " ".join(line(row)), flush=True)
        keep([rows[j] for j in jobs if j in rows])

    waiting = []
    for job in jobs:
        if job.ended():
            settle(job, job.row(""))
        else:
            waiting.append(job)
    try:
        while waiting or running:
            if seconds is not None and time.monotonic() - began > seconds:
                break
            while waiting and len(running) < at_once:
                running.append(Running(waiting.pop(0)))
            time.sleep(_POLL_S)
            for walk in [w for w in running if w.done]:
                running.remove(walk)
                settle(walk.job, walk.finish())
            if running and time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                print(f"{told - began:6.0f}s running: {', '.join(w.progress() for w in running)}", flush=True)
    finally:
        for walk in running:
            settle(walk.job, walk.stop("stopped while it ran"))
    for job in waiting:
        settle(job, job.row("not started in the time there was"))
    return [rows[job] for job in jobs]


def _seconds(text: str) -> float:
    try:
        seconds = Budget.parse(text).seconds
    except BadOption as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time")
    return seconds


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the walks, whose groups are their own, would go on
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--to", action="append", required=True, metavar="PLATFORM", help="repeatable")
    parser.add_argument("--from", dest="reference", default="torch-cpu", metavar="PLATFORM")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="decode steps after each prefill of a decoder")
    parser.add_argument("--jobs", type=int, default=1, help="walks at a time")
    parser.add_argument("--budget", type=_seconds, metavar="9m", help="stop what runs after this")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder per walk goes here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    more = ("--batches", str(options.batches), "--steps", str(options.steps))
    jobs = [
        Job(model, options.reference, to, options.output / f"{Path(model).name}-{to.replace('/', '_')}", more)
        for model in options.models
        for to in options.to
    ]

    def keep(rows: list[dict[str, Any]]) -> None:
        if options.json:  # after every walk: the next may take long
            options.json.write_text(json.dumps(rows, indent=1) + "\n")

    print(table(walk_all(jobs, options.jobs, options.budget, keep)))


if __name__ == "__main__":
    main()
