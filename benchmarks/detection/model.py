"""What the benchmark is made of: subjects, faults with their correct twins, controls."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from tapml_fuzz.core.policy import Policy
from tapml_fuzz.operators.invoke import register
from tapml_fuzz.platforms.kernels.candidate import Arrays
from tapml_fuzz.strategies import SeedSet
from tapml_fuzz.strategies.seed_set import from_examples

# What it takes to see a fault, as its author reads the code (the benchmark measures whether it is so):
# anything at all; values, or relations between values, as real activations have them; sizes at a boundary;
# infinities, NaN, subnormals, dtype limits; ties, masks, indices, order; a memory layout; several runs.
Reveals = Literal["anything", "activations", "shapes", "specials", "structure", "layout", "runs"]
Written = Literal["torch", "numpy", "opencl", "wgsl", "library"]
Examples = Callable[[], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class Subject:
    """An operator with recorded calls of it.

    Attributes:
        name: unique, e.g. `softmax`; family: what results are grouped by.
        operator: an aten overload, or a torch callable that runs in float64 and defines what is right.
        examples: gives the recorded calls, tuples of tensors (cut from `activations.py`) and plain values.
        moves: the operator only moves or selects data, so that correct results are exact.
        axes: axis names per tensor argument; None: inferred by trial.
    """

    name: str
    family: str
    operator: str | Callable[..., Any]
    examples: Examples
    moves: bool = False
    axes: Sequence[Sequence[str | int]] | None = None

    def operator_name(self) -> str:
        """The name under which the package knows the operator."""
        if isinstance(self.operator, str):
            return self.operator
        return register(f"python:{self.name}", self.operator)

    def source(self, examples: Sequence[tuple[Any, ...]] | None = None) -> SeedSet:
        """What strategies draw around: the recorded calls, or other `examples` in their place."""
        given = self.examples() if examples is None else examples
        return from_examples(self.operator_name(), [(args, {}) for args in given], axes=self.axes)


@dataclass(frozen=True)
class Control:
    """A correct implementation of a subject, however it computes.

    Attributes:
        name: unique; subject: the subject's name; function: takes a recorded call's arguments as they are.
        arrays: whether `function` takes torch tensors or numpy arrays.
        dtypes: floating dtypes it is tried in; the empty name stands for the recorded ones.
        policy: what its platform's specification permits.
        needs: modules without which it cannot run; strided: whether it is given non-contiguous inputs.
    """

    name: str
    subject: str
    function: Callable[..., Any]
    arrays: Arrays = "torch"
    dtypes: tuple[str, ...] = ("",)
    policy: Policy | None = None
    needs: tuple[str, ...] = ()
    strided: bool = True

    @property
    def drawn(self) -> tuple[str, ...]:
        """The floating dtypes to draw from; empty when there are only the recorded ones."""
        return self.dtypes if self.dtypes != ("",) else ()

    @property
    def missing(self) -> str:
        """The first module that is not installed, or whose device is absent; empty when it can run."""
        return next((name for name in self.needs if not _present(name)), "")


def _present(name: str) -> bool:
    if name == "torch.cuda":  # a module that every torch has, with a device or without
        return torch.cuda.is_available()
    return importlib.util.find_spec(name) is not None


@dataclass(frozen=True)
class Fault:
    """A faulty implementation that differs from its correct twin in one small way.

    Attributes:
        name: unique; subject: the subject's name.
        faulty, correct: both take a recorded call's arguments as they are.
        origin: where faults of this kind come from: a public issue's address, a section of a specification, or in a
            few words the porting mistake.
        reveals: what it takes to see the fault; written: in what.
    """

    name: str
    subject: str
    faulty: Callable[..., Any]
    correct: Callable[..., Any]
    origin: str
    reveals: Reveals = "anything"
    written: Written = "torch"
    arrays: Arrays = "torch"
    dtypes: tuple[str, ...] = ("",)
    policy: Policy | None = None
    needs: tuple[str, ...] = field(default=())
    strided: bool = True

    def _as_control(self, name: str, function: Callable[..., Any]) -> Control:
        return Control(
            name, self.subject, function, self.arrays, self.dtypes, self.policy, self.needs, strided=self.strided
        )

    @property
    def candidate(self) -> Control:
        """The faulty implementation, in the form of a control that must fail."""
        return self._as_control(self.name, self.faulty)

    @property
    def missing(self) -> str:
        """As of a control."""
        return self.candidate.missing

    @property
    def twin(self) -> Control:
        """The correct implementation that the fault was planted in."""
        return self._as_control(f"{self.name} (twin)", self.correct)
