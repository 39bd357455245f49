"""The contract of a platform: what it is, what it can do, build once, run often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.policy import Capabilities, Policy


class Unit(msgspec.Struct, frozen=True):
    """What is built: an operator at given input dtypes, with sizes for the axes that the build fixes.

    Axes of the operator that are missing in `sizes` stay symbolic: the build serves any size of them.
    """

    operator: Operator
    dtypes: tuple[str, ...]
    sizes: dict[str, int]


class Info(msgspec.Struct, frozen=True):
    """What `platforms` prints: whether a platform can run here and, if not, why not and how to get it."""

    name: str
    available: bool
    reason: str = ""
    mend: str = ""
    device: str = ""
    versions: dict[str, str] = {}
    capabilities: Capabilities | None = None
    policy: Policy | None = None


class BuildRejected(Exception):  # noqa: N818 (an outcome of a build, named for what happened)
    """The compiler or driver refused the unit; `source` is the device source, if there is one."""

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message)
        self.source = source


class NotSupported(Exception):  # noqa: N818
    """The platform cannot do this and says so; never a fault."""


class Platform(Protocol):
    """One platform inside its worker process. Heavy imports happen in `activate`, nowhere else."""

    name: str

    def activate(self) -> Info:
        """Import what is needed, find the device; called once, first. Returns `available=False` rather than raise."""

    def build(self, unit: Unit) -> Any:
        """Compile the unit. Raises `BuildRejected` or `NotSupported`."""

    def run(self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]) -> Run:
        """Run a build on numpy arrays. Any exception is a run error."""


class Run(msgspec.Struct):
    """Outputs of a run (numpy, packed), and what was noticed about them; see `core.outcome.Ok`."""

    outputs: list[Any]
    seconds: float
    unwritten: list[int] = []
    mutated: list[int] = []
