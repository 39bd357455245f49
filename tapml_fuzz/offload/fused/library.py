"""A compiled Relax library in this process: its VM, its device, and every call of one of its functions intercepted.

TVM's VM calls an instrument before and after whatever it calls (`VirtualMachine.set_instrument`), and the instrument
may say that the call shall not be made. So the instrument makes it, as it likes: with this library's function or with
another's, on these arguments or on others. Calls are in destination-passing style: outputs are arguments too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array

# What stands in the way of a library that is fine in itself is an error of whoever named it.
_DEVICES = ("cuda", "rocm", "opencl", "metal", "vulkan")
_BUILTIN = "vm.builtin."


class Unusable(Exception):
    """A library that cannot be run as asked; the text says why in one line."""


@dataclass(frozen=True)
class LibraryCall:
    """A call of one of the library's functions that the VM is about to make.

    Attributes:
        number: counts calls of functions of the library in one run, from 0.
        arguments: as the VM gives them: tensors on the library's device, integers (sizes) between them.
        fresh: positions of tensors that nobody has written since they were allocated: outputs, whatever the function.
    """

    number: int
    name: str
    function: Any
    arguments: tuple[Any, ...]
    fresh: frozenset[int]

    @property
    def tensors(self) -> list[int]:
        """Positions of the arguments that are tensors."""
        return [i for i, argument in enumerate(self.arguments) if is_tensor(argument)]


# Makes the call (or does not), so that the outputs among its arguments are written when it returns.
Conduct = Callable[[LibraryCall], None]


class Library:
    """The shared library at `path`, ready to run `main`. Raises `Unusable`."""

    def __init__(self, path: Path, main: str) -> None:
        import tvm
        from tvm import relax

        try:
            module = tvm.runtime.load_module(str(path))
        except Exception as error:  # whatever the loader raises
            raise Unusable(f"{path.name} cannot be loaded: {one_line(error)}") from None
        if module.kind != "relax.VMExecutable":
            raise Unusable(f"{path.name} is a {module.kind} module, not an exported Relax executable")
        self.name, self._main = path.name, main
        self._modules = list(_below(module))
        kinds = {imported.kind for imported in self._modules}
        self.device_kind = next((kind for kind in _DEVICES if kind in kinds), "cpu")
        self.device = tvm.device(self.device_kind)
        if not self.device.exist:
            raise Unusable(f"{path.name} needs {self.device_kind}, which this machine or this TVM does not have")
        self._vm = relax.VirtualMachine(module, self.device)
        try:
            arity = self._vm._get_function_arity(main)
            self.parameters = [str(self._vm._get_function_param_name(main, i)) for i in range(arity)]
        except Exception:  # of whatever type TVM raises: only a function that is there can be asked
            raise Unusable(f"{path.name} has no function {main!r}") from None

    def function(self, name: str) -> Any | None:
        """The library's own compiled function of that name; None where it has none."""
        for module in self._modules:
            try:
                return module.get_function(name)
            except AttributeError:
                continue
        return None

    def run(self, inputs: Sequence[Array], conduct: Conduct) -> list[Array]:
        """Run `main`; every call of one of the library's functions is left to `conduct`. Raises what it raises."""
        self._vm.set_instrument(_Instrument(self, conduct))
        return _arrays(self._vm[self._main](*map(self.place, inputs)))

    def place(self, array: Array) -> Any:
        """A new tensor on the library's device."""
        import tvm

        tensor = tvm.runtime.empty(array.shape, str(array.dtype), self.device)
        tensor.copyfrom(np.ascontiguousarray(array).reshape(array.shape))
        return tensor


class _Instrument:
    """The instrument that the VM of one run calls before and after each of its calls."""

    def __init__(self, library: Library, conduct: Conduct) -> None:
        self._library, self._conduct = library, conduct
        self._own: dict[str, bool] = {}
        self._unwritten: dict[int, Any] = {}  # kept alive until they are written, or an address could be another's
        self._heaps: list[Any] = []
        self._calls = 0

    def __call__(self, function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        from tvm.runtime.vm import VMInstrumentReturnKind

        if name.startswith(_BUILTIN):
            if not before:
                self._note(name, result)
        elif before and self._is_own(name) and not any(map(self._is_heap, arguments)):
            fresh = {i for i, a in enumerate(arguments) if is_tensor(a) and a.__chandle__() in self._unwritten}
            call = LibraryCall(self._calls, name, function, arguments, frozenset(fresh))
            self._calls += 1
            self._conduct(call)
            self._written(arguments)
            return int(VMInstrumentReturnKind.SKIP_RUN)
        elif not before:
            self._written(arguments)
        return int(VMInstrumentReturnKind.NO_OP)

    def _note(self, name: str, result: Any) -> None:
        if name == _BUILTIN + "alloc_tensor" and is_tensor(result):
            self._unwritten[result.__chandle__()] = result
        elif name == _BUILTIN + "alloc_shape_heap":
            self._heaps.append(result)

    def _written(self, arguments: Sequence[Any]) -> None:
        for argument in arguments:
            if is_tensor(argument):
                self._unwritten.pop(argument.__chandle__(), None)

    def _is_own(self, name: str) -> bool:
        if name not in self._own:
            self._own[name] = self._library.function(name) is not None
        return self._own[name]

    def _is_heap(self, argument: Any) -> bool:
        """Tell whether it is where the VM keeps the sizes of its shapes: what computes those is no operator."""
        return is_tensor(argument) and any(argument.same_as(heap) for heap in self._heaps)


def is_tensor(argument: Any) -> bool:
    """Tell whether an argument is one of TVM's tensors."""
    import tvm

    return isinstance(argument, tvm.runtime.Tensor)


def one_line(error: BaseException) -> str:
    """The text of an error in one line of at most 300 characters, without TVM's traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)}"[:300]


def _below(module: Any) -> list[Any]:
    found: list[Any] = []
    for imported in module.imports:
        found += [imported, *_below(imported)]
    return found


def _arrays(result: Any) -> list[Array]:
    """The tensors of a result, nested or not, as numpy arrays, in order."""
    if is_tensor(result):
        return [result.numpy()]
    try:
        parts = list(result)
    except TypeError:
        raise Unusable(f"it returns a {type(result).__name__}, where only tensors can be compared") from None
    return [array for part in parts for array in _arrays(part)]
