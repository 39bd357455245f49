"""What a planted fault does, known without a walk: the planted build's calls judged one by one, and the model's run.

A walk hears of a fault from a worker, from a runner and from delta debugging. None of them is asked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.offload.kinds import EVERY
from benchmarks.offload.planted import Plan
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.judge import judge
from tapml_fuzz.offload.hybrid import CannotRun, Hybrid
from tapml_fuzz.offload.recording import RecordedStep, Recording, calls_of
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.tolerance import truth_of
from tapml_fuzz.oracle import Truth, truth

_BROKEN = float("inf")


class Effects:
    """Of faults in the builds of the platform `platform`, which `target` reads from the plan at `path`."""

    def __init__(self, subject: Subject, hybrid: Hybrid, target: str, platform: str, path: Path) -> None:
        self._subject, self._hybrid, self._target = subject, hybrid, target
        self._platform, self._path = platform, path
        self._calls = cache(self._calls_of)

    def on_calls(self, key: str, kind: str = "") -> float:
        """The largest error of any call of the operator with that fault (none: as the platform has it), over the
        oracle's bound, on the reference run's inputs."""
        self._plant(Plan(self._platform, {key: kind} if kind else {}))
        calls = self._calls(key)
        runs = EVERY[kind].after + EVERY[kind].every * len(calls) if kind else len(calls)
        return max((self._ratio(*calls[run % len(calls)]) for run in range(runs)), default=0.0)

    def in_model(self, plan: Plan, *keys: str) -> float:
        """The largest distance of a value of the model, over its tolerance, with `keys` alone on the target."""
        self._plant(plan)
        try:
            check = self._subject.check(self._hybrid, dict.fromkeys(keys, self._target))
        except CannotRun:
            return _BROKEN
        return check.worst.ratio

    def of_pair(self, first: str, second: str) -> float:
        """The largest error of a call of `second` over the oracle's bound on what `first` gave on the target."""
        self._plant(Plan(self._platform, pairs=[(first, second)]))
        return max((self._meeting(r, step, first) for r, step, _, _ in self._calls(second)), default=0.0)

    def _plant(self, plan: Plan) -> None:
        plan.write(self._path)
        self._hybrid.forget()

    def _calls_of(self, key: str) -> list[tuple[Recording, RecordedStep, Case, Truth]]:
        return list(self._judged(key))

    def _judged(self, key: str) -> Iterator[tuple[Recording, RecordedStep, Case, Truth]]:
        for recording, step in calls_of(self._subject.recordings, key):
            expected = truth_of(recording, step, self._subject.policy)
            if expected is not None:
                yield recording, step, recording.case(step), expected

    def _ratio(self, recording: Recording, step: RecordedStep, case: Case, expected: Truth) -> float:
        try:
            outputs = self._hybrid.alone(recording, step, self._target)
        except CannotRun:
            return _BROKEN
        return _judged_ratio(case, outputs, expected)

    def _meeting(self, recording: Recording, step: RecordedStep, first: str) -> float:
        """A call of a pair's second, on a tensor of its first's where it reads one."""
        makers = {name: s for s in recording.steps if s.operator.key == first for name in s.outputs}
        made = [makers[name] for name in step.inputs if name in makers]
        if not made:
            return 0.0
        values: dict[str, Array] = {}
        only = Recording(recording.label, (*made, step), {**recording.given, **recording.values}, {}, step.outputs)

        def observe(seen: RecordedStep, outputs: list[Array]) -> None:
            values.update(zip(seen.outputs, outputs, strict=True))

        keys = {s.operator.key for s in only.steps}
        outputs = self._hybrid.run(only, dict.fromkeys(keys, self._target), observe=observe)
        given = recording.case(step).tensors
        tensors = tuple(values.get(name, tensor) for name, tensor in zip(step.inputs, given, strict=True))
        case = Case(step.operator, step.sizes, tensors, origin=f"seed:{step.name}")
        return _judged_ratio(case, outputs, truth(step.operator, tensors, step.sizes))


def _judged_ratio(case: Case, outputs: list[Array], expected: Truth) -> float:
    verdict = judge(case, Ok(tuple(outputs)), expected)
    ratio = verdict.metrics.ratio
    if not verdict.failed:
        return min(ratio, 1.0)
    return ratio if ratio > 1 else _BROKEN
