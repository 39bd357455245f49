"""What is not computed again, and that nothing else is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.kept import Kept, Since, same_bits, weight_only
from tapml_fuzz.offload.recording import Recording
from tapml_fuzz.offload.subject import Check, Subject
from tapml_fuzz.offload.walk import Graph
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.torch_eager import TorchCpu


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

    def ran(self, assignment: Mapping[str, str], *, afresh: bool = False) -> tuple[Check, Counter[str]]:
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
    before = Kept(sites, values, {name: state}, {})

    def known(carried: np.ndarray) -> bool:
        return Since(recording, sites, before, {name: carried}).known(reader) is not None

    assert known(state.copy())
    assert not known(state + 1)


def test_an_input_is_no_weight(subject: Subject) -> None:
    (recording,) = subject.recordings
    assert set(recording.inputs) < set(recording.given)
    readers = {step.name for step in recording.steps if set(recording.inputs) & set(step.inputs)}
    assert readers
    assert not readers & weight_only(recording)
    unknown = Recording("", recording.steps, recording.given, recording.values, recording.outputs)
    assert readers & weight_only(unknown)
