"""Trials per second and where the time goes, on the shipped corpus, one worker, build time apart.

    python benchmarks/throughput/run.py --platform tvm-llvm --seconds 20 --json throughput.json

Every operator of the corpus is built and warmed up first. Then its recorded seeds are replayed and recipes are drawn
for its share of the time, with inputs of at most `--elements` elements. Reduction is switched off: what fails is
counted and passed over. Absolute figures depend on the machine; compare within one run.
"""

from __future__ import annotations

import argparse
import json
import platform as machine
import time
from pathlib import Path
from typing import Any

import torch

from strategies import Source
from tapml_fuzz.campaign.bench import Bench, Result, Times
from tapml_fuzz.campaign.hunt import Hunt
from tapml_fuzz.cli.campaign import load_sources
from tapml_fuzz.cli.selection import select_operators
from tapml_fuzz.platforms.isolated import Isolated


class Passing:
    """Lets every failure pass, so that nothing is reduced; see `campaign.hunt.Catch`."""

    def claim(self, id_: str) -> bool:
        return False

    def found(self, *arguments: Any) -> None:
        raise AssertionError("nothing is new")

    reduced = found


def measure(source: Source, bench: Bench, seconds: float, elements: int) -> dict[str, Any]:
    """One operator: trials, wall clock and its parts, in seconds."""
    counts = {"trials": 0, "elements": 0}
    for seed in source.seeds:  # builds and first launches
        bench.trial(seed)
    bench.times = Times()
    builds = bench.builds

    def count(results: list[Result]) -> None:
        counts["trials"] += sum(r.platform != bench.reference_name for r in results)
        counts["elements"] += sum(r.case.elements for r in results)

    began = time.perf_counter()
    number = 0
    while time.perf_counter() - began < seconds:
        number += 1
        Hunt(
            source,
            bench,
            Passing(),
            max_elements=elements,
            expired=lambda: time.perf_counter() - began > seconds,
            on_trial=count,
        ).search(128, 128 * (number - 1), number)
    elapsed = time.perf_counter() - began
    times = bench.times
    return {
        "operator": source.operator.describe(),
        **counts,
        "builds": bench.builds - builds,
        "elapsed_s": elapsed,
        "time_s": {name: getattr(times, name) for name in times.__dataclass_fields__},
    }


def row(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Per-trial figures: trials/s without build time, milliseconds of each part."""
    trials, times = max(1, figures["trials"]), figures["time_s"]
    working = figures["elapsed_s"] - times["build"]
    per_trial = {part: 1e3 * times[part] / trials for part in ("generate", "reference", "candidate", "oracle")}
    other = 1e3 * working / trials - sum(per_trial.values())
    own = per_trial["generate"] + per_trial["oracle"] + other
    return {
        "operator": name,
        "trials": figures["trials"],
        "trials/s": trials / working,
        **per_trial,
        "other": other,
        "own": own,
        "elements": figures["elements"] / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default="tvm-llvm")
    parser.add_argument("--operator", action="append", default=[], help="glob, repeatable (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for all operators together, builds apart")
    parser.add_argument("--elements", type=int, default=16384, help="largest input, in elements")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources = load_sources(*select_operators(None, options.operator))
    share = options.seconds / len(sources)
    measured = {}
    with Isolated("torch-cpu") as reference, Isolated(options.platform) as candidate:
        bench = Bench("torch-cpu", reference, {options.platform: candidate})
        for key, source in sources.items():
            measured[key] = measure(source, bench, share, options.elements)
    total: dict[str, Any] = {
        "trials": 0,
        "elements": 0,
        "elapsed_s": 0.0,
        "time_s": dict.fromkeys(Times().__dict__, 0.0),
    }
    for figures in measured.values():
        for part in ("trials", "elements", "elapsed_s"):
            total[part] += figures[part]
        for part in total["time_s"]:
            total["time_s"][part] += figures["time_s"][part]
    rows = [row(key, figures) for key, figures in measured.items()] + [row("all", total)]
    print(
        f"{options.platform} on {machine.processor() or machine.machine()}, ms per trial; own = generate+oracle+other"
    )
    print(f"{'operator':30}" + "".join(f"{name:>11}" for name in list(rows[0])[1:]))
    for r in rows:
        print(f"{r['operator']:30}" + "".join(f"{value:11.3g}" for value in list(r.values())[1:]))
    if options.json:
        options.json.write_text(json.dumps({"platform": options.platform, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
