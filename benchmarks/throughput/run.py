"""Builds, first calls and trials per second of platforms on the shipped corpus, and where the time goes.

    python -m benchmarks.throughput.run --platform tvm-llvm --platform tvm-opencl --json throughput.json

Per platform, in one worker: what building an operator and its first call take (median over the operators; caches of
compiled code are used as they are, so point XDG_CACHE_HOME at an empty folder for cold ones); how many trials a second
the worker runs on cases that are built and warm, near 4k input elements and of any size; the share of that time inside
the platform; then how many trials a second a campaign makes of it, with generation, reference platform and judging.
With `--isolation NAME` the same cases run in this process and in a worker in turn. Absolute figures depend on the
machine; compare within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.host import processor, versions
from benchmarks.throughput import campaign, isolation
from benchmarks.throughput.worker import Rate, Speed, speed
from tapml_fuzz.cli.campaign import load_seed_sets
from tapml_fuzz.cli.selection import select_operators
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.worker_process import environment
from tapml_fuzz.strategies import SeedSet


def main() -> None:
    options = _options()
    os.environ.update(environment())  # a platform in this process has one thread, too
    torch.set_num_threads(1)
    sources = load_seed_sets(*select_operators(None, options.operator))
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.throughput.run", *sys.argv[1:]]),
        "processor": processor(),
        "load": os.getloadavg()[1],
        "versions": versions(),
        "platforms": {},
        "isolation": {},
    }
    for name in options.platform or ([] if options.isolation else ["tvm-llvm"]):
        result["platforms"][name] = _platform(name, sources, options.seconds)
        _kept(result, options.json, name)
    for name in options.isolation:
        result["isolation"][name] = isolation.overhead(name, sources, options.seconds)
        _kept(result, options.json, name)
    print(table(result))


def _kept(result: dict[str, Any], path: Path | None, name: str) -> None:
    """Write what there is: the next platform may take long."""
    print(f"{name} done", file=sys.stderr)
    if path:
        whole = {**result, "load": [result["load"], os.getloadavg()[1]]}
        path.write_text(json.dumps(_rounded(whole), indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--platform", action="append", default=[], help="repeatable (default: tvm-llvm, with --isolation none)"
    )
    parser.add_argument("--isolation", action="append", default=[], help="a platform that is safe in this process")
    parser.add_argument("--operator", action="append", default=[], help="glob, repeatable (default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="per platform and figure, for all operators")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _platform(name: str, sources: Mapping[str, SeedSet], seconds: float) -> dict[str, Any]:
    share = seconds / len(sources)
    with WorkerSession("torch-cpu") as reference, WorkerSession(name) as candidate:
        info = candidate.info()
        if not info.available:
            return {"unavailable": info.reason}
        runner = DifferentialRunner("torch-cpu", reference, {name: candidate})
        speeds, trials = {}, []
        for key, source in sources.items():
            measured = speed(candidate, source, share)
            if measured is None:
                continue
            speeds[key] = measured
            trials.append(campaign.measure(source, runner, share))
        runner.close()
    if not speeds:
        return {"unavailable": f"none of {len(sources)} operators was built and run"}
    return {
        "device": info.device,
        **_summary(list(speeds.values())),
        "campaign": campaign.per_trial(trials),
        "operators": {key: _one(measured) for key, measured in speeds.items()},
    }


def _one(measured: Speed) -> dict[str, float | None]:
    """One operator: milliseconds, and trials per second near 4k elements and of any size."""
    return {
        "build_ms": None if measured.build is None else 1e3 * measured.build,
        "first_call_ms": 1e3 * measured.first,
        "near_4k": None if measured.near is None else 1 / measured.near.each,
        "any_size": None if measured.any is None else 1 / measured.any.each,
    }


def _summary(speeds: Sequence[Speed]) -> dict[str, Any]:
    built = [1e3 * s.build for s in speeds if s.build is not None]
    return {
        "build_ms": statistics.median(built) if built else None,
        "first_call_ms": statistics.median(1e3 * s.first for s in speeds),
        "near_4k": _together([s.near for s in speeds if s.near is not None]),
        "any_size": _together([s.any for s in speeds if s.any is not None]),
    }


def _together(rates: Sequence[Rate]) -> dict[str, float]:
    """Trials per second when every operator has as many trials, and of the operator in the middle."""
    each = [rate.each for rate in rates]
    return {
        "operators": len(rates),
        "trials_per_s": 1 / statistics.mean(each),
        "median_trials_per_s": 1 / statistics.median(each),
        "inside": statistics.mean(rate.inside / rate.runs for rate in rates) / statistics.mean(each),
        "elements": statistics.mean(rate.elements for rate in rates),
    }


def table(result: Mapping[str, Any]) -> str:
    """What was measured, in Markdown."""
    lines: list[str] = []
    if result["platforms"]:
        lines.append(
            "| platform | build ms | first call ms | worker: trials/s near 4k elements (median operator) "
            "| inside platform | any size | campaign: trials/s | fuzzer's own ms a trial |"
        )
        lines.append("|---|---|---|---|---|---|---|---|")
    for name, seen in result["platforms"].items():
        if "unavailable" in seen:
            lines.append(f"| {name} | {seen['unavailable']} |")
            continue
        near, mixed, whole = seen["near_4k"], seen["any_size"], seen["campaign"]
        build = "-" if seen["build_ms"] is None else f"{seen['build_ms']:.0f}"
        lines.append(
            f"| {name} | {build} | {seen['first_call_ms']:.2f} "
            f"| {near['trials_per_s']:,.0f} ({near['median_trials_per_s']:,.0f}) | {near['inside']:.0%} "
            f"| {mixed['trials_per_s']:,.0f} | {whole['trials_per_s']:,.0f} | {whole['own']:.2f} |"
        )
    if result["isolation"]:
        lines += [""] if lines else []
        lines.append("| isolation, ms a trial | here | in a worker | in windows | costs | costs in windows |")
        lines.append("|---|---|---|---|---|---|")
    for name, seen in result["isolation"].items():
        columns = ("local", "single", "window", "single_costs", "window_costs")
        lines.append(f"| {name} | {' | '.join(f'{seen[column]:.3f}' for column in columns)} |")
    return "\n".join(lines)


def _rounded(value: Any) -> Any:
    """Four digits: more say nothing."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
