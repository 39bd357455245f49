"""One call of a fused function, made by hand: on other inputs, or by the other library, with fresh outputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.offload.fused.library import Library, LibraryCall, is_tensor, one_line
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten

# What TVM's argument checks say before anything runs; the signature follows it.
_UNFIT = "when calling"


class Unfit(Exception):
    """The other library's function does not take these arguments."""


class Faulty(Exception):
    """The other library's function took the arguments and did something that no right function does."""


@dataclass(frozen=True)
class Made:
    """A call that A's library has made, with what is needed to make it again.

    Attributes:
        before: contents of the tensors that are not fresh, by position: the inputs, and what is changed in place.
        outputs: positions and contents of what A's function wrote, in order.
        seconds: of A's function.
    """

    call: LibraryCall
    before: dict[int, Array]
    outputs: dict[int, Array]
    seconds: float

    @property
    def inputs(self) -> list[Array]:
        """Contents of the tensors that are not fresh, in the order of their positions."""
        return [self.before[i] for i in sorted(self.before)]

    @property
    def shapes(self) -> str:
        """Dtypes and shapes of the arguments, for people."""
        return ", ".join(
            f"{argument.dtype}{list(map(int, argument.shape))}" if is_tensor(argument) else str(argument)
            for argument in self.call.arguments
        )


def made(library: Library, call: LibraryCall) -> Made:
    """Make a call with library A's own function, where the VM wants its outputs.

    An output is what nobody has written before, or what the call has changed.
    """
    before = {i: call.arguments[i].numpy() for i in call.tensors if i not in call.fresh}
    began = time.perf_counter()
    call.function(*call.arguments)
    library.device.sync()
    seconds = time.perf_counter() - began
    after = {i: call.arguments[i].numpy() for i in call.tensors}
    outputs = {i: a for i, a in after.items() if i in call.fresh or differs(before[i], a)}
    return Made(call, before, outputs, seconds)


class Again:
    """Makes a call again on tensors of its own, with a function of the library `library`."""

    def __init__(self, library: Library, function: Any, call: Made) -> None:
        self._library, self._function, self._call = library, function, call
        self._arguments = list(call.call.arguments)
        for position in call.call.tensors:
            held = call.before.get(position, call.outputs.get(position))
            assert held is not None
            self._arguments[position] = library.place(held)
        self.seconds = 0.0

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for `inputs` in place of the call's; raises whatever the function raises."""
        for position, array in zip(sorted(self._call.before), inputs, strict=True):
            self._arguments[position].copyfrom(array)
        began = time.perf_counter()
        self._function(*self._arguments)
        self._library.device.sync()
        self.seconds = time.perf_counter() - began
        return [self._arguments[position].numpy() for position in self._call.outputs]

    def checked(self) -> list[Array]:
        """The outputs for the call's own inputs. Raises `Unfit`, or `Faulty` for what shows before a value does."""
        first = self._poisoned(0)
        if suspicious([a for a in first if dtypes.name_of(a) in dtypes.NAMES]):
            second = self._poisoned(1)
            for number, count in enumerate(unwritten(first, second)):
                if count:
                    size = first[number].size
                    raise Faulty(f"{count} of {size} elements of output {number} are never written")
        return first

    def repeated(self) -> list[Array]:
        """The outputs once more. Raises as `checked` does, but for elements that are never written."""
        return self._poisoned(0)

    def _poisoned(self, which: int) -> list[Array]:
        for position in self._call.call.fresh:
            tensor = self._arguments[position]
            if str(tensor.dtype) in dtypes.NAMES:
                tensor.copyfrom(poisoned(tuple(map(int, tensor.shape)), str(tensor.dtype), which))
        try:
            outputs = self(self._call.inputs)
        except Exception as error:  # TVM raises many types
            raise (Unfit if is_unfit(error) else Faulty)(one_line(error)) from None
        for position, array in self._call.before.items():
            if position not in self._call.outputs and differs(array, self._arguments[position].numpy()):
                raise Faulty(f"it changes its argument {position}, which A's function only reads")
        return outputs


def is_unfit(error: BaseException) -> bool:
    """Tell whether TVM's checks of a compiled function's arguments, their number, dtypes and shapes, have raised it."""
    return isinstance(error, TypeError | ValueError) and _UNFIT in str(error)


def differs(one: Array, other: Array) -> bool:
    """Tell whether two arrays differ in any bit; of shapes and dtypes that are equal."""
    return not np.array_equal(to_bits(one), to_bits(other))
