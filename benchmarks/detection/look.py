"""Look at single faults and controls: when each is found, what on, and whether its twin passes.

python -m benchmarks.detection.look 'softmax*' [--trials 500] [--seeds 3]
"""

from __future__ import annotations

import argparse
import fnmatch
import time

import numpy as np
import torch

from benchmarks.detection.model import Control
from benchmarks.detection.ours import fuzzer
from benchmarks.detection.registry import controls, faults, subject_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, fault in faults().items():
        if matches(name, options.patterns):
            print(found(fault.candidate, options.trials, options.seeds), flush=True)
            print(passed(fault.twin, options.trials, options.seeds), flush=True)
    for name, control in controls().items():
        if matches(name, options.patterns):
            print(passed(control, options.trials, options.seeds), flush=True)


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def found(control: Control, trials: int, seeds: int) -> str:
    """A line on a fault."""
    if control.missing:
        return f"not run  {control.name}: {control.missing} is not installed"
    source, told = subject_of(control).source(), []
    for seed in range(seeds):
        first = fuzzer(control, source, trials=trials, seconds=60, seed=seed).first
        told.append(f"{first.trial} {first.kind} {first.realism}" if first else "MISSED")
    return f"fault    {control.name:40s} {' | '.join(told)}"


def passed(control: Control, trials: int, seeds: int) -> str:
    """A line on a correct implementation."""
    if control.missing:
        return f"not run  {control.name}: {control.missing} is not installed"
    source, began = subject_of(control).source(), time.perf_counter()
    runs = [fuzzer(control, source, trials=trials, seconds=60, seed=seed, stop=False) for seed in range(seeds)]
    ratios = [r for run in runs for r in run.ratios]
    failures, total = sum(run.failures for run in runs), sum(run.trials for run in runs)
    each = (time.perf_counter() - began) / max(total, 1) * 1e3
    line = f"correct  {control.name:40s} {failures} of {total} accused"
    if ratios:
        line += f", r median {np.median(ratios):.3f} max {max(ratios):.3f}, {each:.2f} ms/trial"
    firsts = [run.first for run in runs if run.first]
    for first in firsts[:1]:
        line += f"\n    ACCUSED at {first.trial}: {first.kind} ({first.realism}) {first.message}"
        if first.case is not None:
            line += f"\n      {first.case.origin} sizes {dict(first.case.sizes)} dtypes {first.case.dtypes}"
    return line


if __name__ == "__main__":
    main()
