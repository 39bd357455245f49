"""The steps of a host function, and the launches that come of them for given arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapml_fuzz.platforms.tvm.tir_expression import Function, Scalars

Dim = tuple[int | None, Function]  # of a parameter's shape: the variable it binds, if it is one, and its value


@dataclass(frozen=True)
class Launch:
    """One kernel launch; extents are per thread axis, `("blockIdx.x", function)`."""

    kernel: str
    buffers: tuple[int, ...]
    scalars: tuple[Function, ...]
    extents: tuple[tuple[str, Function], ...]


@dataclass(frozen=True)
class Let:
    """The value of a variable from here on."""

    variable: int
    value: Function


@dataclass(frozen=True)
class Allocate:
    """A temporary buffer of the host function's, for its kernels only."""

    buffer: int
    dims: tuple[Function, ...]
    dtype: str


@dataclass(frozen=True)
class HostCheck:
    """A check of the host function's: where `condition` is false, the run ends with `message`."""

    condition: Function
    message: str


@dataclass(frozen=True)
class Branch:
    """Two sequences of steps, of which `condition` chooses one."""

    condition: Function
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


@dataclass(frozen=True)
class Loop:
    """Steps that are taken once for each value of `variable` from `start` on, `extent` times."""

    variable: int
    start: Function
    extent: Function
    body: tuple[Step, ...]


Step = Launch | Let | Allocate | HostCheck | Branch | Loop


@dataclass(frozen=True)
class ReadyLaunch:
    """A launch with every expression evaluated, as a runner hands it to its API."""

    kernel: str
    buffers: tuple[Any, ...]
    scalars: tuple[int | float, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]


@dataclass
class HostFunction:
    """The host side of one tensor program: its `parameters` in order, and the `dims` of those that are tensors.

    Variables and buffers are told apart by `tir_expression.key`.
    """

    name: str
    parameters: list[int] = field(default_factory=list)
    dims: dict[int, list[Dim]] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)  # variables for where a parameter begins in its buffer: always 0
    steps: tuple[Step, ...] = ()

    def launches(
        self, arguments: Sequence[Any], allocate: Callable[[tuple[int, ...], str], Any]
    ) -> Iterator[ReadyLaunch]:
        """Interpret the function. An argument is `(shape, buffer)` for a tensor parameter, else a number.

        Launches without any block are left out. Raises `ValueError` when the arguments' shapes contradict the
        parameters or a check in the host function fails.
        """
        scalars: dict[int, int | float] = dict.fromkeys(self.offsets, 0)
        buffers: dict[int, Any] = {}
        for parameter, argument in zip(self.parameters, arguments, strict=True):
            if parameter in self.dims:
                buffers[parameter] = argument[1]
            else:
                scalars[parameter] = argument
        shapes = [(n, self.dims[p], arguments[n][0]) for n, p in enumerate(self.parameters) if p in self.dims]
        for _, dims, shape in shapes:
            for (variable, _), extent in zip(dims, shape, strict=True):
                if variable is not None:
                    scalars.setdefault(variable, extent)
        for number, dims, shape in shapes:
            expected = tuple(value(scalars) for _, value in dims)
            if expected != tuple(shape):
                raise ValueError(f"{self.name}: argument {number} has shape {tuple(shape)}, not {expected}")
        yield from _interpret(self.steps, scalars, buffers, allocate)


def _interpret(
    steps: Sequence[Step],
    scalars: dict[int, int | float],
    buffers: dict[int, Any],
    allocate: Callable[[tuple[int, ...], str], Any],
) -> Iterator[ReadyLaunch]:
    for step in steps:
        match step:
            case Let(variable, value):
                scalars[variable] = value(scalars)
            case Allocate(buffer, dims, dtype):
                buffers[buffer] = allocate(tuple(int(dim(scalars)) for dim in dims), dtype)
            case HostCheck(condition, message):
                if not condition(scalars):
                    raise ValueError(message)
            case Branch(condition, then, otherwise):
                yield from _interpret(then if condition(scalars) else otherwise, scalars, buffers, allocate)
            case Loop(variable, start, extent, body):
                first = int(start(scalars))
                for number in range(first, first + int(extent(scalars))):
                    scalars[variable] = number
                    yield from _interpret(body, scalars, buffers, allocate)
            case Launch():
                ready = _ready(step, scalars, buffers)
                if all(extent > 0 for extent in (*ready.grid, *ready.block)):
                    yield ready


def _ready(launch: Launch, scalars: Scalars, buffers: Mapping[int, Any]) -> ReadyLaunch:
    extents = {tag: int(extent(scalars)) for tag, extent in launch.extents}
    grid, block = (tuple(extents.get(f"{kind}.{axis}", 1) for axis in "xyz") for kind in ("blockIdx", "threadIdx"))
    return ReadyLaunch(
        launch.kernel,
        tuple(buffers[buffer] for buffer in launch.buffers),
        tuple(scalar(scalars) for scalar in launch.scalars),
        (grid[0], grid[1], grid[2]),
        (block[0], block[1], block[2]),
    )
