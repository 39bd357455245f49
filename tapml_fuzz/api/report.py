"""The findings of `check`, for people and for `assert`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.verdict import Kind, Metrics, Realism


@dataclass(frozen=True)
class Finding:
    """One failure of a candidate, on the smallest input found.

    Attributes:
        inputs: numpy arrays, one per tensor argument; expected: float64 (or exact) truth per output; actual: what
            the candidate gave, empty when it gave nothing.
        kind, ratio, realism: see `core.verdict`; message: one line for people.
        elements: number of input elements; found_elements: before reduction.
    """

    kind: Kind
    ratio: float
    realism: Realism
    message: str
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    actual: tuple[Array, ...]
    metrics: Metrics
    elements: int
    found_elements: int
    case: Case = field(repr=False)
    _reproducer: Callable[[], str] = field(repr=False)

    def reproducer(self) -> str:
        """A standalone Python script that shows the failure."""
        return self._reproducer()

    script = reproducer  # its former name

    def __str__(self) -> str:
        shapes = " ".join(f"{t.dtype}{list(t.shape)}" for t in self.inputs)
        return (
            f"{self.kind} ({self.realism}, ratio {self.ratio:.3g}, {self.elements} elements: {shapes}): {self.message}"
        )


@dataclass(frozen=True)
class Report:
    """The result of `check`. `ok` is True when something ran and nothing failed; what is permitted is no failure."""

    operator: str
    candidate: str
    trials: int
    seconds: float
    worst_ratio: float
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether something ran and nothing but what is permitted was found."""
        return self.trials > 0 and all(f.kind == "permitted" for f in self.findings)

    def __repr__(self) -> str:
        head = f"{self.candidate} against {self.operator}: "
        if self.ok:
            return f"{head}ok after {self.trials} trials in {self.seconds:.1f} s (worst ratio {self.worst_ratio:.2g})"
        lines = [f"{head}{len(self.findings)} finding(s) in {self.trials} trials, {self.seconds:.1f} s"]
        for number, finding in enumerate(self.findings, 1):
            lines.append(f"  {number}. {finding}")
            lines += [f"     input {i}: {_short(t)}" for i, t in enumerate(finding.inputs)]
            lines += [f"     expected: {_short(t)}" for t in finding.expected[:1]]
            lines += [f"     actual:   {_short(t)}" for t in finding.actual[:1]]
        return "\n".join(lines)

    def __bool__(self) -> bool:
        return self.ok


def _short(array: Array) -> str:
    return np.array2string(array.astype(np.float64) if array.dtype.kind == "V" else array, threshold=16, edgeitems=3)
