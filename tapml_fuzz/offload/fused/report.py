"""The result of a walk from one compiled library to another, as data."""

from __future__ import annotations

from dataclasses import dataclass

from tapml_fuzz.core.walk_summary import FinalRun, FunctionSummary, LibrariesWalkSummary, OwnRunSummary
from tapml_fuzz.offload.fused.functions import FusedFunction
from tapml_fuzz.offload.fused.messages import OwnRun
from tapml_fuzz.offload.report import WalkReport


@dataclass(frozen=True, kw_only=True)
class LibrariesReport(WalkReport):
    """A finished walk from library A, the walk's reference, to library B, its target.

    Attributes:
        functions: A's, in the order of its run.
        only_in_a, only_in_b: functions that one library's run calls and the other library's does not.
        devices: what A and B run on.
        own: B as it is; None where it ended its process, with `own_failure` saying how.
    """

    functions: tuple[FusedFunction, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    devices: tuple[str, str]
    own: OwnRun | None
    own_failure: str

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about what no unit says."""
        a, b = self.walk.reference, self.walk.target
        lines = [f"only {a} calls {name}" for name in self.only_in_a]
        lines += [f"only {b} calls {name}" for name in self.only_in_b]
        if self.own is None or self.own.reason:
            lines.append(f"{b} as it is: {self.own.reason if self.own else self.own_failure}")
        elif self.own_outside and all(unit.status == "moved" for unit in self.units):
            lines.append(
                f"{b} as it is leaves the bound (worst {self.own_worst:.3g} of it) though every function of it is "
                f"right: its constants differ, or the order in which it calls them"
            )
        return tuple(lines)

    @property
    def own_worst(self) -> float:
        """B's own result: the largest distance from A's, over what is allowed."""
        return max((value.ratio for value in self.own.outputs), default=0.0) if self.own else 0.0

    @property
    def own_outside(self) -> bool:
        """Tell whether B's own result is outside what is allowed."""
        return self.own_worst > 1

    def summary(self) -> LibrariesWalkSummary:
        """The walk as it is written and shown."""
        return LibrariesWalkSummary(
            **self.settled(),
            task="libraries",
            devices=self.devices,
            functions=tuple(_summary(function) for function in self.functions),
            nodes=sum(f.calls for f in self.functions),
            reference_nodes=sum(u.calls for u in self.units if u.status != "moved"),
            notes=self.notes,
            final=self._final(),
            own=self._own(),
        )

    def _final(self) -> FinalRun:
        if self.final is None:
            return FinalRun(failed=True, failure=self.failure)
        worst = self.final.worst
        return FinalRun(failed=self.final.failed, worst=worst.ratio, worst_value=worst.value, view=self.final.view)

    def _own(self) -> OwnRunSummary:
        if self.own is None:
            return OwnRunSummary(failed=True, failure=self.own_failure)
        return OwnRunSummary(
            failed=self.own_outside or bool(self.own.reason),
            worst=self.own_worst,
            view=self.own.view,
            identical_to_final=self.own.identical,
        )


def _summary(function: FusedFunction) -> FunctionSummary:
    facts = function.facts
    return FunctionSummary(
        name=function.key,
        calls=function.calls,
        alone=function.worst.ratio,
        slack=max(fact.slack for fact in facts),
        terms=max(fact.terms for fact in facts),
        seconds_a=sum(fact.seconds[0] for fact in facts),
        seconds_b=sum(fact.seconds[1] for fact in facts),
    )
