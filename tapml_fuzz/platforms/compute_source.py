"""The `compute` of a reproducer that spells out launches: kernels first, then buffers and launches, then outputs."""

from __future__ import annotations

from collections.abc import Sequence


def compute_source(parameters: str, prologue: Sequence[str], steps: Sequence[str], outputs: str) -> str:
    """The source of `def compute(...)`, whose `prologue` makes the kernels before any buffer is made.

    Both `prologue` and `steps` are lines without indentation; `outputs` is the expression that it
    returns.
    """
    lines = [f"def compute({parameters}):", *(f"    {line}" for line in (*prologue, *steps))]
    return "\n".join([*lines, f"    return {outputs}", ""])
