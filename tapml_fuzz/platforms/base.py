"""The contract of a platform: what it is, what it can do, build once, run often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec

from tapml_fuzz.core.case import Case, Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities, Policy


class BuildSpec(msgspec.Struct, frozen=True):
    """The thing to build: an operator at given input dtypes, with sizes for the axes that the build fixes.

    Axes of the operator that are missing in `sizes` stay symbolic: the build serves any size of them.
    """

    operator: Operator
    dtypes: tuple[str, ...]
    sizes: dict[str, int]

    def serves(self, case: Case) -> bool:
        """Whether a build of this build spec can run the case."""
        same = case.operator.key == self.operator.key and case.dtypes == self.dtypes
        return same and all(case.sizes[axis] == size for axis, size in self.sizes.items())


class Info(msgspec.Struct, frozen=True):
    """The facts that `platforms` prints: whether a platform can run here and, if not, why not and how to get it.

    An `eager` platform compiles nothing: one build of an operator serves any sizes, hidden ones included. One that
    implements only some operators names them in `operators` (globs, see `Operator.matches`); none named stands for any.
    """

    name: str
    available: bool
    reason: str = ""
    hint: str = ""
    device: str = ""
    versions: dict[str, str] = {}
    capabilities: Capabilities | None = None
    policy: Policy | None = None
    eager: bool = False
    operators: tuple[str, ...] = ()


class Reproducer(msgspec.Struct, frozen=True):
    """A platform's part of a standalone reproducer.

    `source` defines `compute(x0, x1, ...)`: torch tensors in, one per slot of the operator, a list of torch tensors
    out; it raises what the compiler or driver raises. `imports` are the lines it needs besides `torch` and `numpy as
    np`; `inf` and `nan` are bound. None of them may be of this package.
    """

    imports: tuple[str, ...]
    source: str


class Unavailable(Exception):
    """The platform cannot run here; `hint` says how to get it.

    `operators` and `versions` are as in `Info`, for a platform that knows them all the same.
    """

    def __init__(
        self, reason: str, hint: str = "", *, operators: tuple[str, ...] = (), versions: Mapping[str, str] = {}
    ) -> None:
        super().__init__(reason)
        self.hint, self.operators, self.versions = hint, operators, dict(versions)


class BuildRejected(Exception):
    """The compiler or driver refused the build spec; `source` is the device source, if there is one."""

    def __init__(self, message: str, source: str = "") -> None:
        super().__init__(message)
        self.source = source


class NotSupported(Exception):
    """The platform cannot do this and says so; never a fault."""


class NeedsStatic(Exception):
    """The build spec cannot be built with these axes open; with sizes for `axes` (none named: for all) it may be."""

    def __init__(self, message: str, axes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.axes = axes


class DeviceLost(Exception):
    """The run failed and left the device unusable: a run error after which the worker must be replaced."""


class MachineUnreachable(Exception):
    """The machine that the platform is on no longer answers: no fault of the platform; the worker must be replaced."""


class Relayed(Exception):
    """A failure that another worker has put into words already; with `lost` its device is unusable."""

    def __init__(self, message: str, *, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost


class Platform(Protocol):
    """One platform inside its worker process. Heavy imports happen in `activate`, nowhere else."""

    name: str

    def activate(self) -> Info:
        """Import what is needed, find the device; called once, first. Raises `Unavailable` when it cannot run here."""

    def build(self, spec: BuildSpec) -> Any:
        """Compile the build spec. Raises `BuildRejected`, `NotSupported` or, when axes are open, `NeedsStatic`."""

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """Run a build on packed numpy arrays, laid out in memory as `layouts` says if the platform is `strided`.

        The outputs are those that the operator uses (`Operator.used`): packed numpy arrays in memory of their own.
        `sizes` gives every axis of the operator. Raises `NotSupported` for a case that it cannot take; any other
        exception is a run error, and `DeviceLost` one that costs the worker.
        """


def info_of(platform: Platform) -> Info:
    """Activate a platform: the `Info` that it gives, or that of an unavailable one. Raises nothing."""
    try:
        return platform.activate()
    except Unavailable as error:
        return Info(platform.name, False, str(error), error.hint, versions=error.versions, operators=error.operators)
    except Exception as error:
        return Info(platform.name, False, f"activation failed: {type(error).__name__}: {error}"[:1000])


class Reproducible(Platform, Protocol):
    """A platform that can also write down, as a program of its own, what it does with a case."""

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The program that runs `spec` at `sizes`, which gives every axis of the operator.

        `careful` forbids to compile anything: that has brought a worker down before. Raises `NotSupported` when there
        is nothing to show.
        """


def reproducer_of(
    platform: Platform, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
) -> Reproducer | None:
    """The reproducer of a `Reproducible` platform; None from any other. Raises what the platform raises."""
    if not hasattr(platform, "reproducer"):
        return None
    return cast(Reproducible, platform).reproducer(spec, sizes, layouts, careful=careful)
