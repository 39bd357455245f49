"""What the walks with planted faults came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def figures(lines: Sequence[Row]) -> dict[str, Any]:
    """Of one model's walks: how many faults had an effect, and how many of those were blamed on their operator."""
    (none,) = [line for line in lines if line["group"] == "none"]
    by_group: dict[str, list[Row]] = {}
    for line in lines:
        by_group.setdefault(line["group"], []).append(line)
    return {
        "versions": none["versions"],
        "nodes": none["nodes"],
        "operators": len(none["sound"]) + len(none["blocked"]),
        "blocked_without_faults": none["blocked"],
        "judged_wrong_without_faults": none["outside_alone"],
        "walks": len(lines),
        "seconds": round(sum(line["seconds"] for line in lines), 1),
        "faults": of_faults(by_group.get("faults", [])),
        "now and then": of_faults(by_group.get("now and then", [])),
        "pairs": of_pairs(by_group.get("pairs", [])),
        "rows": [_short(row) for line in lines for row in line.get("rows", ())],
    }


def of_faults(lines: Sequence[Row]) -> dict[str, Any]:
    """Single faults, and the operators without one that were blamed beside them."""
    rows = [row for line in lines for row in line["rows"]]
    telling = [row for row in rows if has_effect(row)]
    silent = [row for row in rows if not has_effect(row)]
    blamed = [row for row in telling if is_blamed(row)]
    in_model = [row for row in blamed if row["where"] == "model"]
    return {
        "planted": len(rows),
        "with_effect": len(telling),
        "blamed": len(blamed),
        "blamed_in_the_model_only": len(in_model),
        "of_these_shown_as_alone_wrong": sum(row["shown"] == [row["unit"]] for row in in_model),
        "missed": [_short(row) for row in telling if not is_blamed(row)],
        "without_effect": len(silent),
        "of_these_never_came": sum(not row["came"] for row in silent),
        "blamed_without_effect": [_short(row) for row in silent if row["status"] != "moved"],
        "blamed_wrongly": [wrong for line in lines for wrong in line["wrongly"]],
        "final_outside": sum(not line["final_within"] for line in lines),
        "smallest_effect_blamed": min((row["on_calls"] for row in blamed if row["on_calls"] > 1), default=None),
        "kinds": {kind: _of_kind([r for r in rows if r["kind"] == kind]) for kind in {r["kind"]: 0 for r in rows}},
    }


def of_pairs(lines: Sequence[Row]) -> dict[str, Any]:
    """Pairs, and the operators of none that were blamed beside them."""
    rows = [row for line in lines for row in line["pairs"]]
    telling = [row for row in rows if row["on_calls"] > 1 and row["alone"] <= 1]
    return {
        "planted": len(rows),
        "with_effect": len(telling),
        "found_as_a_pair": sum(_is_found(row) for row in telling),
        "missed": [row for row in telling if not _is_found(row)],
        "blamed_wrongly": [wrong for line in lines for wrong in line["wrongly"]],
        "final_outside": sum(not line["final_within"] for line in lines),
    }


def has_effect(row: Row) -> bool:
    """Whether a call of the operator leaves the oracle's bound, or the model its tolerance with nothing else moved.

    A fault that is not always there has none in a walk to which it never came.
    """
    return bool(row["came"] and (row["on_calls"] > 1 or (row["in_model"] or 0.0) > 1))


def is_blamed(row: Row) -> bool:
    """Whether the walk blames the operator, and it alone."""
    return row["status"] == "blocked" and not row["partners"]


def _is_found(row: Row) -> bool:
    return [sorted((f["unit"], *f["partners"])) for f in row["found"]] == [sorted(row["pair"])]


def _of_kind(rows: Sequence[Row]) -> dict[str, int]:
    telling = [row for row in rows if has_effect(row)]
    return {"planted": len(rows), "with_effect": len(telling), "blamed": sum(map(is_blamed, telling))}


def _short(row: Row) -> list[Any]:
    """Operator, kind, largest error of a call and of the model's value over the bound, and what became of it."""
    settled = (row["where"] or row["status"]) if row["came"] else "never came"
    return [row["unit"], row["kind"], row["on_calls"], row["in_model"], " ".join([settled, *row["partners"]])]
