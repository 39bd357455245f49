"""The benchmark of planted faults: what it plants, what it calls an effect, and how it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.offload import tally
from benchmarks.offload.effect import Effects
from benchmarks.offload.kinds import EVERY, HARDER, KINDS, RARE
from benchmarks.offload.planted import Plan, Planted
from benchmarks.offload.rounds import edges_of, rounds
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.subject import Subject

KEYS = [f"unit-{n}" for n in range(17)]


def test_every_operator_is_planted_with_every_kind_beside_operators_without() -> None:
    edges = [(a, b) for a in KEYS for b in KEYS if a != b]
    planned = rounds(KEYS, edges, pairs=12)
    single = [(key, kind) for r in planned if r.group == "faults" for key, kind in r.faults.items()]
    assert sorted(single) == sorted((key, kind) for key in KEYS for kind in [*KINDS, *HARDER])
    assert all(len(r.faults) <= (len(KEYS) + 1) // 2 for r in planned)
    rare = [(key, kind) for r in planned if r.group == "now and then" for key, kind in r.faults.items()]
    assert sorted(key for key, _ in rare) == sorted(KEYS)
    assert {kind for _, kind in rare} == set(RARE)
    pairs = [pair for r in planned for pair in r.pairs]
    assert len(set(pairs)) == 12
    for r in planned:
        in_pairs = [key for pair in r.pairs for key in pair]
        assert len(in_pairs) == len(set(in_pairs))


@pytest.mark.parametrize("kind", sorted(EVERY))
def test_every_kind_changes_something_and_keeps_the_form(kind: str) -> None:
    random = np.random.default_rng(0)
    for array in (np.float32([[1, 2, 3], [4, 5, 6]]), np.int64([[1, 2, 3], [4, 5, 6]])):
        other = EVERY[kind].change(array.copy(), random)
        assert (other.shape, other.dtype) == (array.shape, array.dtype)
        assert (other != array).any() == (array.dtype.kind == "f" or kind != "slight value")


def test_kinds_come_when_they_say() -> None:
    assert [n for n in range(1, 13) if EVERY["every third run"].comes(n)] == [3, 6, 9, 12]
    assert [n for n in range(1, 50) if EVERY["after forty runs"].comes(n)] == [43, 46, 49]


def test_what_a_fault_does_is_known_without_a_walk(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    Plan("torch-cpu").write(path)
    gelu = next(k for k in subject.operators if k.startswith("gelu"))
    with Hybrid(Site("torch-cpu"), Site("planted", Planted(str(path)))) as hybrid:
        effects = Effects(subject, hybrid, "planted", "torch-cpu", path)
        assert effects.on_calls(gelu) <= 1
        for kind in ("value", "nondeterminism", "every tenth run", "kept tensors"):
            assert effects.on_calls(gelu, kind) > 1, kind
        edges = edges_of(subject, list(subject.operators))
        into_gelu = next(edge for edge in edges if edge[1] == gelu)
        assert effects.of_pair(*into_gelu) > 1
        assert effects.of_pair(gelu, into_gelu[0]) == 0, "it reads nothing of gelu's"
        assert effects.in_model(Plan("torch-cpu", pairs=[into_gelu]), gelu) <= 1
        assert effects.in_model(Plan("torch-cpu", pairs=[into_gelu]), *into_gelu) > 1


def row(**facts: Any) -> dict[str, Any]:
    usual = {"unit": "a", "kind": "value", "on_calls": 9.0, "in_model": None, "came": True, "status": "blocked"}
    return {**usual, "where": "alone", "partners": [], "shown": [], **facts}


def test_only_what_has_an_effect_counts_and_only_whole_blame() -> None:
    rows = [
        row(),
        row(unit="b", status="moved", where=""),
        row(unit="c", partners=["d"], where="model"),
        row(unit="e", on_calls=0.5, in_model=3.0, where="model", shown=["e"]),
        row(unit="f", on_calls=0.5, in_model=0.5, status="moved", where=""),
        row(unit="g", on_calls=0.5, in_model=0.5),
        row(unit="h", came=False, status="moved", where=""),
    ]
    line = {"rows": rows, "wrongly": [{"unit": "x"}], "final_within": False}
    found = tally.of_faults([line])
    assert (found["planted"], found["with_effect"], found["blamed"]) == (7, 4, 2)
    assert [r[0] for r in found["missed"]] == ["b", "c"]
    assert [r[0] for r in found["blamed_without_effect"]] == ["g"]
    assert found["blamed_wrongly"] == [{"unit": "x"}]
    assert (found["blamed_in_the_model_only"], found["of_these_shown_as_alone_wrong"]) == (1, 1)
    assert (found["without_effect"], found["of_these_never_came"]) == (3, 1)
    assert found["final_outside"] == 1


def test_a_pair_is_found_only_as_a_pair() -> None:
    def pair(*found: tuple[str, list[str]], **facts: float) -> dict[str, Any]:
        told = [{"unit": unit, "partners": partners} for unit, partners in found]
        return {"pair": ["a", "b"], "on_calls": 9.0, "alone": 0.5, "found": told, **facts}

    rows = [
        pair(("b", ["a"])),
        pair(("a", ["b"])),
        pair(("b", [])),
        pair(("a", []), ("b", [])),
        pair(("b", ["a", "c"])),
        pair(),
        pair(alone=2.0),
        pair(on_calls=0.5),
    ]
    found = tally.of_pairs([{"pairs": rows, "wrongly": [], "final_within": True}])
    assert (found["planted"], found["with_effect"], found["found_as_a_pair"]) == (8, 6, 2)
