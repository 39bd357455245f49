"""Units that are wrong at some runs only: they are found, and nobody is blamed in their stead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapml_fuzz.core.walk_summary import Growth, View
from tapml_fuzz.offload.hybrid import Assignment, Hybrid, Site
from tapml_fuzz.offload.ledger import Ledger, Walk
from tapml_fuzz.offload.repetition import unsteady
from tapml_fuzz.offload.subject import Grown, ModelCheck, Subject
from tapml_fuzz.offload.walk import Alone, Walker
from tests.offload.planting import Twin


def gelu(subject: Subject) -> str:
    return next(k for k in subject.operators if k.startswith("gelu"))


@pytest.mark.parametrize(
    ("kind", "told"), [("every tenth run", "differ"), ("nondeterminism", "differ"), ("value", ""), ("", "")]
)
def test_who_differs_from_run_to_run_is_unsteady(subject: Subject, kind: str, told: str) -> None:
    key = gelu(subject)
    with Hybrid(Site("torch-cpu"), Site("twin", Twin({key: kind} if kind else {}))) as hybrid:
        said = unsteady(subject, hybrid, key, "twin")
    assert (said is not None) == bool(told)
    if said is not None:
        assert told in said.reason
        assert said.verdict.kind == "nondeterministic"


class Rounding(Twin):
    """Sums in another order every time: the last bit differs, and every run is right."""

    def compute(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        (output,) = super().compute(build, tensors, sizes)
        array = self.fetch(output)
        return [self.place(np.nextafter(array, np.float32(self._random.choice([-np.inf, np.inf]))))]


def test_who_rounds_otherwise_every_time_is_not(subject: Subject) -> None:
    with Hybrid(Site("torch-cpu"), Site("twin", Rounding({}))) as hybrid:
        assert unsteady(subject, hybrid, gelu(subject), "twin") is None


@dataclass(frozen=True)
class Thing:
    key: str
    calls: int = 1
    elements: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def text(self) -> str:
        return self.key


@dataclass
class Acted:
    """A model whose `script` says, run by run, at whose value it fails; `known` are those seen to be wrong alone."""

    script: Callable[[int, Assignment], str]
    known: Callable[[str, int], bool] = lambda key, run: False
    runs: int = 0
    asked: list[str] = field(default_factory=list)

    def accept(self, check: ModelCheck) -> None:
        return None

    def check(self, assignment: Assignment, *, afresh: bool = False) -> ModelCheck:
        self.runs += 1
        wrong = self.script(self.runs, assignment)
        grown = [Grown(k, "", k, k, 9.0 if k == wrong else 0.0) for k in "abcd"]
        return ModelCheck(tuple(grown), View(1.0), ())

    def growth(self, assignment: Assignment, check: ModelCheck) -> tuple[Growth, ...]:
        return ()

    def unsteady(self, key: str, platform: str) -> Alone | None:
        self.asked.append(key)
        return Alone(failed=True, reason="now and then", findings=(key,)) if self.known(key, self.runs) else None


def walked(model: Acted, folder: Path) -> tuple[dict[str, tuple[str, str, tuple[str, ...]]], ModelCheck]:
    """What became of the units a to d, as the ledger has it after the last run."""
    ledger = Ledger(folder)
    first = Walk(1, "model", "", "here", "there", {})
    ledger.begin(first, resume=False)
    walker: Walker[Thing] = Walker(model, "there", ledger, lambda unit: Alone(findings=(f"fuzzed {unit.key}",)))
    walker.walk([Thing(key) for key in "abcd"])
    final = walker.final()
    again = Ledger(folder)
    again.begin(first, resume=True)
    assert [again.results[key] for key in "abcd"] == walker.results
    taken = {r.key for r in walker.results if r.where == "alone"}
    assert {r.key: r.findings for r in walker.results} == {
        key: (f"fuzzed {key}", key) if key in taken else (f"fuzzed {key}",) for key in "abcd"
    }, "what was known of a unit stays known"
    assert set(walker.moved) == {r.key for r in walker.results if r.status == "moved"}
    return {r.key: (r.status, r.where, r.partners) for r in walker.results}, final


MOVED = ("moved", "", ())


def test_who_was_right_by_luck_is_taken_back(tmp_path: Path) -> None:
    """`a` is right in its own trial and wrong at every second run after it, at a value of `d`."""
    model = Acted(lambda run, on: "d" if "a" in on and run % 2 == 0 else "", lambda key, run: key == "a" and run > 1)
    became, final = walked(model, tmp_path)
    assert became == {"a": ("blocked", "alone", ()), "b": MOVED, "c": MOVED, "d": MOVED}
    assert not final.failed


def test_who_is_never_wrong_alone_is_known_by_the_first_value(tmp_path: Path) -> None:
    model = Acted(lambda run, on: "a" if "a" in on and run % 2 == 0 else "")
    became, _ = walked(model, tmp_path)
    assert became == {"a": ("blocked", "model", ()), "b": MOVED, "c": MOVED, "d": MOVED}


def test_who_fails_the_last_run_only_is_taken_back(tmp_path: Path) -> None:
    model = Acted(lambda run, on: "c" if "b" in on and run == 5 else "", lambda key, run: key == "b" and run == 5)
    became, final = walked(model, tmp_path)
    assert became == {"a": MOVED, "b": ("blocked", "alone", ()), "c": MOVED, "d": MOVED}
    assert not final.failed


def test_a_pair_that_always_fails_stays_a_pair(tmp_path: Path) -> None:
    model = Acted(lambda run, on: "d" if {"a", "c"} <= set(on) else "")
    became, _ = walked(model, tmp_path)
    assert became == {"a": MOVED, "b": MOVED, "c": ("blocked", "model", ("a",)), "d": MOVED}
    assert model.asked == ["a", "b", "c", "a", "d"], "each before it moves, and the partner once more"


def test_a_partner_that_is_wrong_at_times_is_to_blame(tmp_path: Path) -> None:
    """While `b` is tried, `a` is wrong at every run that has both: as a pair would be."""
    model = Acted(lambda run, on: "d" if {"a", "b"} <= set(on) else "", lambda key, run: key == "a" and run > 1)
    became, _ = walked(model, tmp_path)
    assert became == {"a": ("blocked", "alone", ()), "b": MOVED, "c": MOVED, "d": MOVED}


def test_a_pair_that_only_the_last_run_shows_is_named(tmp_path: Path) -> None:
    """It fails at a value of `d`, which is on the source, and always once the trials are over."""
    model = Acted(lambda run, on: "d" if {"a", "c"} <= set(on) and run > 4 else "")
    became, final = walked(model, tmp_path)
    assert became == {"a": MOVED, "b": MOVED, "c": ("blocked", "model", ("a",)), "d": MOVED}
    assert not final.failed
