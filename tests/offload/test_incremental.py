"""What is not computed again, and that nothing else is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapml_fuzz.offload import blame
from tapml_fuzz.offload.constants import Constants, origins, weight_only
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.incremental import IncrementalRun, PriorRun, same_bits
from tapml_fuzz.offload.ledger import Ledger, Walk
from tapml_fuzz.offload.recording import Recording
from tapml_fuzz.offload.subject import ModelCheck, Subject
from tapml_fuzz.offload.units import OffloadUnit, units_of
from tapml_fuzz.offload.walk import Alone, Graph, Walker
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.torch.eager import TorchCpu
from tests.offload.planting import Twin, pair_of


class Counting(TorchCpu):
    """torch on the CPU: counts what runs, and adds `off` to what an operator gives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ran: Counter[str] = Counter()
        self.off: dict[str, float] = {}

    def compute(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        self.ran[build.key] += 1
        outputs = super().compute(build, tensors, sizes)
        return [output + self.off[build.key] for output in outputs] if build.key in self.off else outputs


class Two:
    """A hybrid of `ours` (the source) and `theirs`."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.ours, self.theirs = Counting("torch-cpu"), Counting("twin")
        self.hybrid = Hybrid(Site("torch-cpu", self.ours), Site("twin", self.theirs))
        self.graph = Graph(subject, self.hybrid)

    def ran(self, assignment: Mapping[str, str], *, afresh: bool = False) -> tuple[ModelCheck, Counter[str]]:
        self.ours.ran.clear()
        self.theirs.ran.clear()
        check = self.graph.check(assignment, afresh=afresh)
        return check, self.ours.ran + self.theirs.ran


@pytest.fixture
def two(subject: Subject) -> Iterator[Two]:
    made = Two(subject)
    with made.hybrid:
        yield made


def _key(subject: Subject, name: str) -> str:
    return next(key for key, operator in subject.operators.items() if operator.short_name == name)


def _steps(subject: Subject) -> Counter[str]:
    return Counter(step.operator.key for r in subject.recordings for step in r.steps)


def test_after_a_move_its_neighbours_run_and_no_others(two: Two, subject: Subject) -> None:
    everything, ran = two.ran({})
    assert ran == _steps(subject)
    two.graph.accept(everything)
    gelu = _key(subject, "gelu")
    check, ran = two.ran({gelu: "twin"})
    (recording,) = subject.recordings
    moved = {s.name for s in recording.steps if s.operator.key == gelu}
    made = {name for s in recording.steps if s.name in moved for name in s.outputs}
    after = [s for s in recording.steps if made & set(s.inputs)]
    wanted = {n for s in recording.steps if s.name in moved or s in after for n in s.inputs}
    before = [s for s in recording.steps if wanted & set(s.outputs) and s.name not in moved]
    assert ran == Counter(s.operator.key for s in [*before, *after] if s.name not in moved) + Counter({gelu: 1})
    assert two.theirs.ran == {gelu: 1}
    assert check.grown == everything.grown


def test_what_hangs_on_a_changed_value_runs_again(two: Two, subject: Subject) -> None:
    gelu = _key(subject, "gelu")
    two.theirs.off[gelu] = 1e-3
    whole, _ = two.ran({gelu: "twin"})
    assert whole.worst.ratio > 1
    two.graph.accept(two.ran({})[0])
    check, ran = two.ran({gelu: "twin"})
    # Not the same to the last bit: torch multiplies what is packed and what is strided in other orders.
    assert [g.ratio for g in check.grown] == pytest.approx([g.ratio for g in whole.grown], rel=0.01, abs=0.1)
    (recording,) = subject.recordings
    hanging = {name for s in recording.steps if s.operator.key == gelu for name in s.outputs}
    for step in recording.steps:
        if hanging & set(step.inputs):
            hanging |= set(step.outputs)
            assert ran[step.operator.key] > 0
    two.theirs.off[gelu] = 0.0
    two.graph.accept(check)
    assert two.ran({})[0].worst.ratio < 0.1, "moving back is a move too"


def test_afresh_is_everything(two: Two, subject: Subject) -> None:
    two.graph.accept(two.ran({})[0])
    assert two.ran({})[1] == {}
    assert two.ran({}, afresh=True)[1] == _steps(subject)


def test_what_hangs_on_weights_alone_runs_once_on_every_platform(two: Two, subject: Subject) -> None:
    (recording,) = subject.recordings
    constant = Counter(s.operator.key for s in recording.steps if s.name in weight_only(recording))
    assert sum(constant.values()) >= 6, "a layer has six matrices"
    once = two.hybrid.run(recording, {})
    two.ours.ran.clear()
    again = two.hybrid.run(recording, {})
    assert two.ours.ran == _steps(subject) - constant
    assert all(same_bits(a, b) for a, b in zip(once, again, strict=True))
    away = dict.fromkeys(constant, "twin")
    for _ in range(2):
        two.hybrid.run(recording, away)
    assert {key: two.theirs.ran[key] for key in constant if _steps(subject)[key] == constant[key]} == {
        key: count for key, count in constant.items() if _steps(subject)[key] == count
    }


def test_a_state_that_changed_is_read_again(subject: Subject) -> None:
    (recording,) = subject.recordings
    name = recording.inputs[0]
    reader = next(step for step in recording.steps if name in step.inputs)
    state = to_numpy(recording.given[name])
    sites = {step.name: "torch-cpu" for step in recording.steps}
    values = {n: to_numpy(tensor) for n, tensor in recording.values.items()}
    prior = PriorRun(sites, values, {name: state}, {})

    def known(carried: np.ndarray) -> bool:
        return IncrementalRun(recording, sites, prior, {name: carried}).known(reader) is not None

    assert known(state.copy())
    assert not known(state + 1)


def test_an_input_is_no_weight(subject: Subject) -> None:
    (recording,) = subject.recordings
    assert set(recording.inputs) < set(recording.given)
    readers = {step.name for step in recording.steps if set(recording.inputs) & set(step.inputs)}
    assert readers
    assert not readers & weight_only(recording)
    unknown = Recording("", recording.steps, recording.given, recording.values, recording.outputs)
    assert not weight_only(unknown)


def _constant(subject: Subject) -> str:
    """An operator all of whose calls hang on weights alone."""
    (recording,) = subject.recordings
    varying = {s.operator.key for s in recording.steps} - {
        s.operator.key for s in recording.steps if s.name in weight_only(recording)
    }
    made_of_weights = [s.operator.key for s in recording.steps if s.operator.short_name == "permute"]
    return next(key for key in made_of_weights if key not in varying)


def test_the_first_run_after_a_move_computes_what_hangs_on_weights_there(two: Two, subject: Subject) -> None:
    key = _constant(subject)
    two.graph.accept(two.ran({})[0])
    two.theirs.off[key] = 1e-2
    check, _ = two.ran({key: "twin"})
    assert two.theirs.ran[key] > 0
    assert check.first is not None
    assert check.first.key == key


def test_recordings_of_one_model_have_what_hangs_on_weights_in_common(two: Two, subject: Subject) -> None:
    (recording,) = subject.recordings
    constant = Counter(s.operator.key for s in recording.steps if s.name in weight_only(recording))
    two.hybrid.run(recording, {})
    two.ours.ran.clear()
    two.hybrid.run(replace(recording, label="another"), {})
    assert two.ours.ran == _steps(subject) - constant


def test_other_weights_other_calls_and_other_platforms_have_nothing_in_common(subject: Subject) -> None:
    (recording,) = subject.recordings
    here = dict.fromkeys((s.name for s in recording.steps), "torch-cpu")
    copied = replace(recording, given={name: tensor.clone() for name, tensor in recording.given.items()})
    away = dict.fromkeys(here, "twin")
    every = [set(origins(*of).values()) for of in ((recording, here), (copied, here), (recording, away))]
    assert len(set.union(*every)) == sum(map(len, every)) > 0
    assert origins(recording, here) == origins(replace(recording, label="another"), dict(here))
    by_origin: dict[str, set[str]] = {}
    for step in recording.steps:
        if step.name in weight_only(recording):
            by_origin.setdefault(origins(recording, here)[step.name], set()).add(step.operator.key)
    assert all(len(keys) == 1 for keys in by_origin.values())


def test_what_nobody_asks_for_is_let_go(subject: Subject) -> None:
    (recording,) = subject.recordings
    constants = Constants()
    constants.keep("a", recording, [])
    constants.tidy()
    assert constants.get("a") == []
    constants.keep("b", recording, [])
    constants.tidy()
    constants.tidy()
    assert len(constants) == 2
    constants.tidy()
    assert len(constants) == 0
    assert constants.get("a") is None


def test_checks_let_go_of_what_hangs_on_weights_elsewhere(two: Two, subject: Subject) -> None:
    key = _constant(subject)
    held = []
    for assignment in ({}, {key: "twin"}, {}, {}, {}):
        two.graph.check(assignment)
        held.append(len(two.hybrid._constants))
    assert held[1] > held[0]
    assert held[-1] == held[0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_pair_is_found_among_units_whose_values_are_kept(subject: Subject, order: tuple[int, int]) -> None:
    pair = pair_of(subject, "gelu")
    last, partner = pair[order[0]], pair[order[1]]
    others = [k for k in subject.operators if k != last]
    with Hybrid(Site("torch-cpu"), Site("twin", Twin({}, [pair]))) as hybrid:
        graph = Graph(subject, hybrid)
        accepted = graph.check(dict.fromkeys(others, "twin"))
        assert not accepted.failed
        graph.accept(accepted)
        assert graph.check(dict.fromkeys([*others, last], "twin")).failed
        assert blame.partners(graph.check, "twin", last, others) == (partner,)


def test_the_last_run_names_who_has_become_wrong_since_it_moved(two: Two, subject: Subject, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin(Walk(1, "model", "", "torch-cpu", "twin", {}), resume=False)
    walker: Walker[OffloadUnit] = Walker(two.graph, "twin", ledger, lambda unit: Alone())
    gelu = _key(subject, "gelu")
    units = [unit for unit in units_of(subject) if unit.key in (gelu, _key(subject, "softmax"), _key(subject, "bmm"))]
    walker.walk(units)
    assert set(walker.moved) == {unit.key for unit in units}
    two.theirs.off[gelu] = 1e-2
    assert not two.graph.check(walker.moved).failed, "nothing has moved since, so nothing runs"
    final = walker.final()
    assert not final.failed
    assert {r.key: r.status for r in walker.results} == {u.key: "blocked" if u.key == gelu else "moved" for u in units}
