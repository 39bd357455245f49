"""A callable of the user's as a platform: a function on torch tensors, which may launch Triton kernels.

It is called as `check` calls a candidate: with the operator's tensors in order, and with those attributes by name that
it has a parameter for. Inputs come in every memory layout. The named outputs of an operator that has more (a layer
norm's) are taken from what it returns, if it returns all.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildSpec, DeviceLost, Info, NotSupported, Reproducer, Unavailable
from tapml_fuzz.platforms.kernels.header import Implements
from tapml_fuzz.platforms.kernels.spec import CallableSpec, callable_spec
from tapml_fuzz.platforms.python_source import arguments
from tapml_fuzz.platforms.torch.eager import TorchCpu, TorchCuda, _TorchEager
from tapml_fuzz.platforms.torch.reproducers import callable_reproducer

_EXAMPLE_SIZE = 16  # of every axis, when a callable is called to make it compile


class _Callable(_TorchEager):
    """A user's callable in the operator's place; the subclass says where its tensors lie."""

    def __init__(self, spec: str) -> None:
        self.name = f"user:{spec}"
        self._spec = spec

    def activate(self) -> Info:
        """See `base.Platform.activate`. Raises `BadKernel` when a file's header is not as it should be."""
        from tapml_fuzz.platforms.kernels.calling import fresh_memory_filled

        found = callable_spec(self._spec)
        self._found, self._implements = found, Implements(found.operators, found.dtypes)
        with self._implements.told():
            info: Info = super().activate()  # type: ignore[misc]
            self._function = _function(found)
        with fresh_memory_filled():  # the first time imports much: not on the clock of the first call
            pass
        assert info.capabilities is not None
        known = info.capabilities.dtypes
        written_for = {name for d in found.dtypes for name in ((d,) if isinstance(d, str) else d)} or set(known)
        source = "no specification of its own: correctly rounded arithmetic, functions as careful libraries have them"
        return msgspec.structs.replace(
            info,
            name=self.name,
            capabilities=Capabilities(tuple(d for d in known if d in written_for), strided=True),
            policy=Policy(accuracy="ieee", source=source),
            operators=found.operators,
        )

    def build(self, spec: BuildSpec) -> Any:
        """See `base.Platform.build`. On CUDA it is called once, so that Triton compiles here and not in a run."""
        if not spec.operator.matches(self._implements.operators):
            raise NotSupported(f"{self._spec} implements {', '.join(self._implements.operators)}")
        if not self._implements.takes(spec.dtypes):
            raise NotSupported(f"{self._spec} is not written for {', '.join(spec.dtypes)}")
        operator = super().build(spec)
        if self.device == "cuda":
            self._compile(operator, spec.dtypes)
        return operator

    def packs(self, build: Any) -> bool:
        """True: the tensors that stay on the device are handed to a callable packed."""
        return True

    def results(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
        """The outputs that are used, as the callable returned them. Raises `TypeError` where it returned no tensors."""
        from tapml_fuzz.operators.invoke import flatten, torch_dtype
        from tapml_fuzz.platforms.kernels.calling import CallBinder, fresh_memory_filled

        args, kwargs = CallBinder(self._function).arguments(build, tensors, sizes, torch_dtype)
        with fresh_memory_filled():
            returned = self._function(*args, **kwargs)
        results = flatten(returned)
        if not results:
            raise TypeError(f"it returned {type(returned).__name__}, not a torch tensor or a sequence of them")
        every = len(results) > max(build.outputs, default=-1) and len(results) != len(build.outputs)
        return tuple(build.used(results)) if build.outputs and every else results

    def _compile(self, operator: Operator, dtypes: tuple[str, ...]) -> None:
        """Call it once: Triton compiles at the first call, for seconds that would pass for a hang of a run."""
        import torch

        from tapml_fuzz.operators.invoke import torch_dtype

        sizes = dict.fromkeys(operator.axis_names, _EXAMPLE_SIZE)
        shapes = operator.shapes(sizes)
        try:
            tensors = [
                torch.zeros(shape, dtype=torch_dtype(dtype), device=self.device)
                for shape, dtype in zip(shapes, dtypes, strict=True)
            ]
            with torch.no_grad():
                self.results(operator, tensors, sizes)
            self._wait()
        except Exception as error:  # what it does to a real case is told when there is one
            if "CUDA error" in str(error):  # unless there can be none: the error stays with the context
                raise DeviceLost(str(error).splitlines()[0]) from error

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """See `base.Reproducible`. It imports the callable and calls it; the callable's source stays where it is."""
        from tapml_fuzz.platforms.kernels.calling import CallBinder

        operator = CallBinder(self._function).as_called(spec.operator)
        shown = arguments(operator, lambda size: str(size.value(sizes)), "x{}".format, dtypes=spec.dtypes)
        call = f"candidate.{self._found.callable}({shown})"
        return callable_reproducer(self._found.module, self._found.path, call, spec.operator, self.device)


class CallableOnCpu(_Callable, TorchCpu):
    """A user's callable on tensors on the CPU, on which torch has one thread."""


class CallableOnCuda(_Callable, TorchCuda):
    """A user's callable on tensors on the first CUDA device."""


def _function(found: CallableSpec) -> Any:
    """The callable itself. Raises `Unavailable` where it cannot be imported, or is none."""
    try:
        function: Any = _module(found.module, found.path)
        for part in found.callable.split("."):
            function = getattr(function, part)
    except Exception as error:  # a user's module may raise anything while it is imported
        reason = f"cannot import {found.callable}: {type(error).__name__}: {error}"
        hint = "run in the folder that holds the module, or put that on PYTHONPATH"
        raise Unavailable(reason[:500], hint) from error
    if not callable(function):
        raise Unavailable(f"{found.callable} is a {type(function).__name__}, not a callable", "name a function")
    return function


def _module(name: str, path: Path | None) -> ModuleType:
    """The module `name`, or the one in the file `path`; both find what lies beside them."""
    if path is None:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(name)
    sys.path.insert(0, str(path.resolve().parent))
    specification = importlib.util.spec_from_file_location(f"user_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # Triton and dataclasses look a function's module up
    specification.loader.exec_module(module)
    return module
