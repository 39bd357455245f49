"""The results as a table for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.detection.baselines import RULES
from benchmarks.detection.labels import ORDINARY, Label
from benchmarks.detection.methods import METHODS, NO_SEEDS, OURS
from benchmarks.detection.model import Control, Fault
from benchmarks.detection.registry import controls, faults, subject_of
from benchmarks.detection.rows import Row
from benchmarks.detection.statistics import (
    AT,
    Interval,
    family_of,
    missed,
    of_family,
    of_method,
    of_recordings,
    recall,
    within,
)
from benchmarks.host import versions

_BASELINES = tuple(rule.name for rule in RULES)


def summary(rows: Sequence[Row], labelled: Sequence[Label], trials: int, command: str) -> dict[str, Any]:
    """Everything the tables say, as JSON can hold it."""
    ours = of(rows, OURS)
    methods = [name for name in METHODS if any(r.method == name for r in rows)]
    common = set.intersection(*({(r.what, r.name, r.mode) for r in of(rows, name)} for name in methods))
    alike = [r for r in rows if (r.what, r.name, r.mode) in common]
    result = {
        "command": command,
        "versions": versions(),
        "counts": counts(),
        "compared_on": len({name for what, name, _ in common if what == "fault"}),
        "methods": {name: {"about": METHODS[name].about, **of_method(alike, name)} for name in methods},
        "ours_on_all": of_method(rows, OURS),
        "families": {
            name: {family: of_family(of(rows, name), family) for family in sorted({family_of(r) for r in ours})}
            for name in methods
        },
        "recordings": {name: seen for name in (OURS, NO_SEEDS) if (seen := of_recordings(rows, name))},
        "reveals": {name: reveals(of(alike, name)) for name in methods},
        "written": {name: by(of(rows, name), lambda fault: fault.written) for name in methods},
        "missed": missed(ours, trials),
        "accused": [
            {"name": r.name, "what": r.what, "kind": r.kind, "realism": r.realism, "message": r.message, "case": r.case}
            for r in ours
            if r.what != "fault" and r.failures
        ],
        "labels": {
            "right": sum(label.right for label in labelled),
            "of": len(labelled),
            "wrong": [f"{x.name}: seen {x.seen}, reported {x.reported}" for x in labelled if not x.right],
            "ordinary_reported_special": [
                x.name for x in labelled if x.seen in ORDINARY and x.reported not in ORDINARY
            ],
        },
        "first_trials": {
            name: {
                fault: firsts(of(rows, name), fault) for fault in sorted({r.name for r in ours if r.what == "fault"})
            }
            for name in methods
        },
        "not_run": sorted(f"{name}: needs {thing.missing}" for name, thing in _everything() if thing.missing),
    }
    return result | {"targets": targets(result)}


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What this benchmark is there to keep true, and whether it is."""
    whole, methods = result["ours_on_all"], result["methods"]
    wrong = whole["false_positives"]
    # Conversions and integers have one right answer each, so most of their ratios are exactly zero.
    rounding = {f: s["ratio"] for f, s in result["families"][OURS].items() if s["ratio"] and s["ratio"]["median"]}
    moving = [s["largest_ratio_of_movement"] for s in result["families"][OURS].values()]
    listed = [
        ("recall at 100 at least 97%", whole["recall"]["100"][0], whole["recall"]["100"][0] >= 0.97),
        ("recall at 500 at least 99%", whole["recall"]["500"][0], whole["recall"]["500"][0] >= 0.99),
        ("no false positive", f"{wrong['accusations']} of {wrong['trials']}", wrong["accusations"] == 0),
        ("at least 100,000 trials of correct implementations", wrong["trials"], wrong["trials"] >= 100_000),
        ("median trials to the first detection at most 5", whole["median_trials"], whole["median_trials"] <= 5),
        (
            "median r between 0.02 and 0.7 in every family that rounds",
            {f: round(r["median"], 3) for f, r in rounding.items()},
            all(0.02 <= r["median"] <= 0.7 for r in rounding.values()),
        ),
        ("r exactly 0 where data only moves", max((m for m in moving if m is not None), default=None), not any(moving)),
        ("no r above 1", max((r["largest"] for r in rounding.values()), default=None), not wrong["accusations"]),
        (
            "no fault seen on ordinary inputs reported as special",
            result["labels"]["ordinary_reported_special"],
            not result["labels"]["ordinary_reported_special"],
        ),
    ]
    worth = result["recordings"]
    if NO_SEEDS in worth and OURS in worth:
        with_them, without = (worth[m]["recall"]["10"][0] for m in (OURS, NO_SEEDS))
        listed.append(
            (
                "without recordings, fewer faults that activations reveal are found in 10 trials on believable inputs",
                {"with": with_them, "without": without},
                with_them > without,
            )
        )
    baselines = [m for m in methods if m in _BASELINES]
    if baselines and OURS in methods:
        # The best by recall of those that accuse no more than we do; else the best of all.
        fair = [m for m in baselines if _accusations(methods[m]) <= _accusations(methods[OURS])] or baselines
        best = max(fair, key=lambda m: float(methods[m]["recall"]["100"][0]))
        lead = methods[OURS]["recall"]["100"][0] - methods[best]["recall"]["100"][0]
        listed.append(
            (f"at least 15 points above the best baseline at equal false positives ({best})", lead, lead >= 0.15)
        )
        over = methods[OURS]["recall"]["100"][0] - max(methods[m]["recall"]["100"][0] for m in baselines)
        listed.append(("at least 15 points above every baseline, whatever it accuses", over, over >= 0.15))
    return [{"target": text, "measured": measured, "met": met} for text, measured, met in listed]


def _accusations(method: dict[str, Any]) -> float:
    return float(method["false_positives"]["accusations"])


def of(rows: Sequence[Row], method: str) -> list[Row]:
    """One method's rows."""
    return [r for r in rows if r.method == method]


def firsts(rows: Sequence[Row], fault: str) -> list[int | None]:
    """The trial of the first detection for each seed."""
    return [r.first_trial for r in rows if r.name == fault and r.what == "fault" and r.mode == "trials"]


def reveals(rows: Sequence[Row]) -> dict[str, Any]:
    """Recall by what it takes to see a fault."""
    return by(rows, lambda fault: fault.reveals)


def by(rows: Sequence[Row], key: Any) -> dict[str, Any]:
    """Recall of faults grouped by a property."""
    limited = [r for r in rows if r.what == "fault" and r.mode == "trials"]
    kinds = sorted({key(faults()[r.name]) for r in limited})
    groups = {kind: [r for r in limited if key(faults()[r.name]) == kind] for kind in kinds}
    return {
        kind: {"faults": len({r.name for r in group}), **{str(n): recall(group, within(n)) for n in AT}}
        for kind, group in groups.items()
    }


def counts() -> dict[str, int]:
    """How many faults and controls there are, run or not."""
    kernels = [f for f in faults().values() if f.written in ("opencl", "wgsl")]
    families = {subject_of(f.candidate).family for f in faults().values()}
    return {
        "faults": len(faults()),
        "kernels": len(kernels),
        "families": len(families),
        "controls": len(controls()),
    }


def table(result: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    lines = [
        "| method | recall at 10 | 50 | 100 | 500 | in 10 s | median trials | median s | false positives / 10,000 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [(f"{name}: {seen['about']}", seen) for name, seen in result["methods"].items()]
    if OURS in result["methods"]:
        rows.append((f"{OURS}, all {result['counts']['faults']} faults", result["ours_on_all"]))
    for title, seen in rows:
        cells = [share(seen["recall"][str(n)]) for n in AT]
        timed = share(seen["recall_10s"]) if seen["recall_10s"] else "-"
        wrong = seen["false_positives"]
        lines.append(
            f"| {title} | {' | '.join(cells)} | {timed} | {number(seen['median_trials'])} "
            f"| {number(seen['median_seconds'])} | {number(wrong['per_10000'])} of {wrong['trials']:,.0f} |"
        )
    lines += ["", "| family | faults | recall at 10 | 100 | 500 | median trials | accused | median r | largest r |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for family, seen in result["families"].get(OURS, {}).items():
        cells = [share(seen["recall"][str(n)], plain=True) for n in (10, 100, 500)]
        wrong, ratio = seen["false_positives"], seen["ratio"]
        middle, most = (number(ratio["median"]), number(ratio["largest"])) if ratio else ("exact", "")
        lines.append(
            f"| {family} | {seen['faults']} | {' | '.join(cells)} | {number(seen['median_trials'])} "
            f"| {wrong['accusations']} of {wrong['trials']:,.0f} | {middle} | {most} |"
        )
    if result["recordings"]:
        lines += [
            "",
            "| faults that activations reveal, seen on believable inputs | faults | recall at 1 | 2 | 10 | 100 |",
        ]
        lines[-1] += " on a recording as it is | median trials |"
        lines += ["|---|---|---|---|---|---|---|---|"]
        for name, seen in result["recordings"].items():
            cells = [share(seen["recall"][n]) for n in ("1", "2", "10", "100")]
            lines.append(
                f"| {name} | {seen['faults']} | {' | '.join(cells)} | {share(seen['observed'])} "
                f"| {number(seen['median_trials'])} |"
            )
    lines += ["", "| what it takes | faults | " + " | ".join(f"{m} at 100" for m in result["reveals"]) + " |"]
    lines += ["|---|---|" + "---|" * len(result["reveals"])]
    for kind in result["reveals"].get(OURS, {}):
        cells = [share(seen[kind]["100"], plain=True) if kind in seen else "-" for seen in result["reveals"].values()]
        lines.append(f"| {kind} | {result['reveals'][OURS][kind]['faults']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def share(interval: Interval, plain: bool = False) -> str:
    """A share in percent with its interval."""
    centre, low, high = interval
    if math.isnan(centre):
        return "-"
    return f"{100 * centre:.1f}%" + ("" if plain or math.isnan(low) else f" ({100 * low:.1f}-{100 * high:.1f})")


def number(value: float) -> str:
    """Three significant digits."""
    return "-" if math.isnan(value) else "never" if math.isinf(value) else f"{value:.3g}"


def _everything() -> list[tuple[str, Control]]:
    listed: list[tuple[str, Fault | Control]] = [*faults().items(), *controls().items()]
    return [(name, thing.candidate if isinstance(thing, Fault) else thing) for name, thing in listed]
