"""Fused mode: the units are the functions of a compiled library, and what they move in is its own VM."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapml_fuzz.core.walk_summary import Growth
from tapml_fuzz.offload import blame
from tapml_fuzz.offload.fused.messages import CallFacts, FusedValue, RunStopped
from tapml_fuzz.offload.fused.process import Pair, ProcessEnded
from tapml_fuzz.offload.hybrid import Assignment, CannotRun
from tapml_fuzz.offload.ledger import written
from tapml_fuzz.offload.subject import Grown, ModelCheck
from tapml_fuzz.offload.walk import Alone


@dataclass(frozen=True)
class FusedFunction:
    """A function of library A with its calls in one run, alone and inside both libraries."""

    key: str
    facts: tuple[CallFacts, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """See `Movable.names`."""
        return (self.key,)

    @property
    def text(self) -> str:
        """See `Movable.text`."""
        return f"{self.key}({self.facts[0].shapes})"

    @property
    def calls(self) -> int:
        """See `Movable.calls`."""
        return len(self.facts)

    @property
    def elements(self) -> int:
        """See `Movable.elements`."""
        return sum(fact.elements for fact in self.facts)

    @property
    def worst(self) -> CallFacts:
        """The call whose results are furthest apart."""
        return max(self.facts, key=lambda fact: fact.ratio)


def functions_of(facts: Iterable[CallFacts]) -> list[FusedFunction]:
    """The functions that A's run calls, in the order of their first calls."""
    calls: dict[str, list[CallFacts]] = {}
    for fact in facts:
        calls.setdefault(fact.name, []).append(fact)
    return [FusedFunction(name, tuple(each)) for name, each in calls.items()]


@dataclass(frozen=True)
class Fused:
    """Library A, in which functions of library B (called `target`) take the place of A's."""

    pair: Pair
    target: str

    def check(self, assignment: Assignment, *, afresh: bool = False) -> ModelCheck:
        """A's run with the functions that are assigned to B taken from there, always afresh. Raises `CannotRun`."""
        try:
            reply = self.pair.check(sorted(assignment))
        except ProcessEnded as ended:
            name = ended.during.name if ended.during is not None else "the run"
            raise CannotRun(self.target, name, str(ended)) from None
        if isinstance(reply, RunStopped):
            raise CannotRun(self.target, reply.name or "the run", reply.reason)
        return ModelCheck(grown(reply.values), reply.view, ())

    def growth(self, assignment: Assignment, check: ModelCheck) -> tuple[Growth, ...]:
        """The way of a failure; functions that stay in A are A's own, so alone they have no distance."""
        alone = {step_of(fact.number, fact.name): written(fact.ratio) for fact in self.pair.facts}
        return tuple(
            # What stays in A is A's own: on A's inputs there is no distance.
            Growth(g.step, g.module, g.key, written(g.ratio), alone.get(g.step) if g.key in assignment else 0.0)
            for g in blame.shown_of(check)
        )

    def accept(self, check: ModelCheck) -> None:
        """Do nothing: every run is afresh, so that none is compared with an earlier one."""

    def unsteady(self, key: str, platform: str) -> Alone | None:
        """None: the survey has run every function again and again, on the same values."""
        return None

    def alone(self, unit: FusedFunction) -> Alone:
        """The survey's finding about a function: whether B has it, takes its arguments and is right on all calls."""
        died = self.pair.died.get(unit.key)
        if died is not None:
            return Alone(failed=True, reason=f"alone {died}", where=died.where)
        unfit = next((f for f in unit.facts if f.seen in ("missing", "signature", "silent")), None)
        if unfit is not None:
            return Alone(unsupported=True, reason=unfit.reason)
        failed = [fact for fact in unit.facts if fact.seen == "failed"]
        if failed:
            worst = unit.worst
            told = f"{len(failed)} of its {unit.calls} calls: call {worst.number}, {worst.reason}"
            return Alone(failed=True, reason=told)
        return Alone()


def step_of(number: int, name: str) -> str:
    """The name of a call as a step of the walk: `"fused_add#3"`, or the name alone where the number is negative."""
    return f"{name}#{number}" if number >= 0 else name


def grown(values: Sequence[FusedValue]) -> tuple[Grown, ...]:
    """The values of a run as the walk sees them."""
    return tuple(
        Grown(
            step_of(value.number, value.name),
            f"call {value.number}" if value.number >= 0 else "the result",
            value.name,
            f"{step_of(value.number, value.name)}:{value.output}",
            min(value.ratio, sys.float_info.max),  # JSON has no infinity
        )
        for value in values
    )
