"""The contract of a kernel language's backend, and one call of a kernel with every number evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.platforms.kernels.header import KernelHeader, Scalar
from tapml_fuzz.platforms.kernels.scope import CallScope
from tapml_fuzz.platforms.kernels.size_expression import BadExpression, Number

_NUMPY: dict[str, type[Any]] = {
    "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64, "f32": np.float32, "f64": np.float64,
}  # fmt: skip


class TypedNumber(NamedTuple):
    """A scalar argument: the type as a header names it, and the value."""

    type: str
    value: Number

    def as_numpy(self) -> Any:
        """The value as a numpy scalar of its type; it must be in the type's range."""
        return _NUMPY[self.type](self.value)

    def spelled(self) -> str:
        """The value as Python source that needs `np`, `inf` and `nan`."""
        return f"np.{_NUMPY[self.type].__name__}({self.value!r})"


@dataclass(frozen=True)
class KernelCall:
    """One launch: extents by key of the header's `launch`, tensors by name and numbers in order of the arguments."""

    extents: Mapping[str, tuple[int, ...]]
    arguments: tuple[str | TypedNumber, ...]

    @property
    def empty(self) -> bool:
        """Whether an extent is 0, so that there is nothing to launch."""
        return any(0 in extents for extents in self.extents.values())

    @property
    def scalars(self) -> tuple[TypedNumber, ...]:
        """The numbers among the arguments, in their order."""
        return tuple(argument for argument in self.arguments if isinstance(argument, TypedNumber))

    def filled(self, buffers: Mapping[str, Any]) -> list[Any]:
        """The arguments with buffers in place of names and numpy scalars in place of numbers."""
        return [a.as_numpy() if isinstance(a, TypedNumber) else buffers[a] for a in self.arguments]


def call_of(header: KernelHeader, scope: CallScope) -> KernelCall:
    """The header's launch for one call; raises `BadExpression` where it has none."""
    extents = {key: tuple(e.integer(scope) for e in expressions) for key, expressions in header.launch.items()}
    for key, values in extents.items():
        if min(values) < 0:
            raise BadExpression(f"launch.{key} is {list(values)}")
    arguments = tuple(_number(a, scope) if isinstance(a, Scalar) else a for a in header.arguments)
    return KernelCall(extents, arguments)


def _number(scalar: Scalar, scope: CallScope) -> TypedNumber:
    if scalar.type.startswith("f"):
        return TypedNumber(scalar.type, float(scalar.value.number(scope)))
    value = scalar.value.integer(scope)
    limits = np.iinfo(_NUMPY[scalar.type])
    if not limits.min <= value <= limits.max:
        raise BadExpression(f"scalar {scalar.name} is {value}, which is no {scalar.type}")
    return TypedNumber(scalar.type, value)


@dataclass(frozen=True)
class Compiled:
    """The driver's kernel object, and the tensors (`"x0"`, `"out0"`) that the kernel is able to write to."""

    kernel: Any
    writable: tuple[str, ...]


class Backend(Protocol):
    """A device and the language of its kernels; making one raises `Unavailable` where there is none.

    Attributes:
        description: name of the device.
        versions: version of each package and driver involved, by name.
        policy: numerical policy of the language.
        max_elements: the most elements that one tensor may have.
        inputs: dtypes of tensors that a kernel may read, as the operator has them.
        outputs: dtypes that it may write.
        type_names: element types by dtype, as the language spells them.
    """

    description: str
    versions: dict[str, str]
    policy: Policy
    max_elements: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    type_names: Mapping[str, str]

    def with_constants(self, source: str, constants: Mapping[str, str], dtypes: Iterable[str]) -> str:
        """The source with `constants` defined before it, and the directives that `dtypes` need; line numbers stay."""

    def compile(self, source: str, header: KernelHeader) -> Compiled:
        """The kernel that the header names, compiled.

        Raises `BuildRejected` when the driver refuses the source or the header does not fit it.
        """

    def prepared(self, array: Array) -> Array:
        """The input as the device holds it; raises `NotSupported` when it cannot."""

    def converted(self, dtype: str) -> str:
        """The suffix by which a script makes the same of a torch tensor of this dtype: `".int()"`, mostly nothing."""

    def upload(self, array: Array) -> Any:
        """A device buffer with the bytes of a prepared, packed array."""

    def download(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array:
        """A buffer's contents as a packed numpy array of `shape` and `dtype`; waits for the launch before."""

    def launch(self, compiled: Compiled, call: KernelCall, buffers: Mapping[str, Any]) -> None:
        """Launch the kernel once, with a buffer for every tensor by name; need not wait for its end."""

    def finish(self) -> None:
        """Wait for the launch; raises when it failed."""

    def reproducer(self, source: str, header: KernelHeader, call: KernelCall, steps: LaunchSource) -> Reproducer:
        """The source and its launch as a program; raises `NotSupported` where that cannot be shown."""


class HoldsEveryDtype:
    """The two conversions of a `Backend`, for a device that holds each dtype as numpy does."""

    def prepared(self, array: Array) -> Array:
        """The array itself."""
        return array

    def converted(self, dtype: str) -> str:
        """The empty string: a script converts nothing."""
        return ""


@dataclass(frozen=True)
class LaunchSource:
    """A script's steps for one case: names of `buffers` by tensor, lines that make them, the outputs' expression.

    `given` are the parameters of `compute`.
    """

    given: str
    buffers: Mapping[str, str]
    lines: Sequence[str]
    outputs: str


def c_constants(constants: Mapping[str, str], source: str, head: Sequence[str] = ()) -> str:
    """C source behind `#define`s (and lines of `head`) that do not shift its line numbers."""
    lines = [*head, *(f"#define {name} {value}" for name, value in constants.items())]
    return "\n".join([*lines, "#line 1", source]) if lines else source


def size_of(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of a packed tensor."""
    return math.prod(shape) * itemsize
