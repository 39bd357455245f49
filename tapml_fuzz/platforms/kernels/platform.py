"""A kernel file of the user's as a platform: OpenCL C, WGSL or CUDA C behind a header (see `kernels.header`)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, numpy_dtype, to_bits
from tapml_fuzz.core.errors import UnknownOperator
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    Info,
    NeedsStatic,
    NotSupported,
    Reproducer,
    Unavailable,
)
from tapml_fuzz.platforms.kernels.backend import Backend, Compiled, KernelCall, LaunchSource, call_of, size_of
from tapml_fuzz.platforms.kernels.header import KernelHeader, TypeOf, parse, read
from tapml_fuzz.platforms.kernels.scope import CallScope, OpenAxis
from tapml_fuzz.platforms.kernels.size_expression import BadExpression, Expression
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.python_source import attribute, parameters

_EXAMPLE_SIZE = 7  # of an open axis, when a header is tried before there is a case


@dataclass(frozen=True)
class KernelBuild:
    """A compiled kernel, for one operator at given input dtypes."""

    operator: Operator
    dtypes: tuple[str, ...]
    compiled: Compiled


class UserKernel:
    """The kernel in the file `path`. Its build serves every size, save those of axes that its constants use."""

    def __init__(self, path: str) -> None:
        self.name = f"user:{path}"
        self._path = Path(path)

    def activate(self) -> Info:
        """See `base.Platform.activate`. Raises `BadKernel` when the file is not as it should be."""
        self._source = read(self._path)
        header = parse(self._path, self._source)
        assert isinstance(header, KernelHeader)
        self._header = header
        with header.told():
            self._backend = _backend(self._path.suffix)
            dtypes = self._dtypes(header)
        return Info(
            self.name,
            True,
            device=self._backend.description,
            versions=self._backend.versions,
            capabilities=Capabilities(
                tuple(dtype for dtype in dtypes if dtype in self._backend.outputs),
                tuple(dtype for dtype in dtypes if dtype not in self._backend.outputs),
                max_elements=self._backend.max_elements,
            ),
            policy=self._backend.policy,
            operators=header.operators,
        )

    def _dtypes(self, header: KernelHeader) -> tuple[str, ...]:
        """The dtypes of the device that the kernel is written for; raises `Unavailable` where it has none of them."""
        written_for = [set((d,) if isinstance(d, str) else d) for d in header.dtypes]
        if not any(names <= set(self._backend.inputs) for names in written_for):
            absent = sorted(set().union(*written_for) - set(self._backend.inputs))
            raise Unavailable(f"the device has no {', '.join(absent)}", "add others to `dtypes`")
        return tuple(dtype for dtype in self._backend.inputs if any(dtype in names for names in written_for))

    def build(self, spec: BuildSpec) -> KernelBuild:
        """See `base.Platform.build`. A header that does not fit the operator is rejected like such a source."""
        source = self._fitted(spec)
        return KernelBuild(spec.operator, spec.dtypes, self._backend.compile(source, self._header))

    def _fitted(self, spec: BuildSpec) -> str:
        """The source with its constants, after everything that can be checked without a case has been."""
        from tapml_fuzz.operators.invoke import resolve

        if not spec.operator.matches(self._header.operators):
            raise NotSupported(f"{self._path} implements {', '.join(self._header.operators)}")
        if not self._header.takes(spec.dtypes):
            raise NotSupported(f"{self._path} is not written for {', '.join(spec.dtypes)}")
        try:
            resolve(spec.operator.name)
            example = {name: spec.sizes.get(name, _EXAMPLE_SIZE) for name in spec.operator.axis_names}
            scope = self._scope(spec.operator, spec.dtypes, example)
            constants = self._constants(CallScope(spec.operator, spec.dtypes, spec.sizes), scope)
            call_of(self._header, scope)
            specs = [scope.spec(name) for name in self._header.buffers]
        except OpenAxis as error:
            raise NeedsStatic(f"a constant of {self._path} depends on {error.axis}", (error.axis,)) from None
        except (BadExpression, UnknownOperator) as error:
            raise BuildRejected(f"header of {self._path}: {error}", self._source) from error
        left_out = [f"out{n}" for n in range(len(scope.outputs)) if f"out{n}" not in self._header.buffers]
        if left_out:
            raise BuildRejected(f"header of {self._path}: no argument {left_out[0]}, which the operator has")
        for _, dtype in scope.outputs:
            if dtype not in self._backend.outputs:
                raise NotSupported(f"an output is {dtype}, which the device has not")
        return self._backend.with_constants(self._source, constants, [dtype for _, dtype in specs])

    def _scope(self, operator: Operator, dtypes: tuple[str, ...], sizes: Mapping[str, int]) -> CallScope:
        """The scope of the header's names in a call, the constants among them."""
        plain = CallScope(operator, dtypes, sizes)
        numbers = {n: value.number(plain) for n, value in self._header.defines.items() if isinstance(value, Expression)}
        return CallScope(operator, dtypes, sizes, numbers)

    def _constants(self, scope: CallScope, example: CallScope) -> dict[str, str]:
        """The constants of `defines`, spelled in the language; raises `OpenAxis` where one needs a size that is open.

        Types depend on no size: they are those of the `example`.
        """
        spelled = {}
        for name, value in self._header.defines.items():
            if isinstance(value, TypeOf):
                dtype = example.spec(value.tensor)[1]
                if dtype not in self._backend.type_names:
                    raise NotSupported(f"{value.tensor} is {dtype}, for which the language has no type")
                spelled[name] = self._backend.type_names[dtype]
                continue
            number = value.number(scope)
            if not math.isfinite(number):
                raise BadExpression(f"{name} is {number}, which cannot be written")
            spelled[name] = f"({number!r})" if number < 0 else repr(number)
        return spelled

    def run(
        self, build: KernelBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`. Outputs are poisoned before the run.

        A second run, with another poison, tells unwritten elements from lookalikes.
        """
        shapes = tuple(tensor.shape for tensor in tensors)
        if build.operator.shapes(sizes) != shapes:
            raise ValueError(
                f"tensors of shapes {list(shapes)} do not fit {build.operator.describe()} at {dict(sizes)}"
            )
        scope = self._scope(build.operator, build.dtypes, sizes)
        call = call_of(self._header, scope)
        inputs = [self._backend.prepared(tensor) for tensor in tensors]
        started = time.perf_counter()
        outputs, mutated = self._execute(build.compiled, call, scope, inputs, which=0)
        seconds = time.perf_counter() - started
        unread = (0,) * len(outputs)
        if suspicious(outputs):
            unread = unwritten(outputs, self._execute(build.compiled, call, scope, inputs, which=1)[0])
        return Ok(tuple(outputs), seconds, unread, tuple(mutated))

    def _execute(
        self, compiled: Compiled, call: KernelCall, scope: CallScope, inputs: Sequence[Array], which: int
    ) -> tuple[list[Array], list[int]]:
        """Run once with outputs filled by poison `which`: the outputs, and the inputs that were written to."""
        backend, buffers, given = self._backend, {}, {}
        for name in self._header.buffers:
            if name.startswith("x"):
                given[name] = inputs[int(name[1:])]
                buffers[name] = backend.upload(given[name])
            else:
                buffers[name] = backend.upload(poisoned(*scope.spec(name), which))
        if not call.empty:
            backend.launch(compiled, call, buffers)
            backend.finish()
        outputs = [backend.download(buffers[f"out{n}"], *spec) for n, spec in enumerate(scope.outputs)]
        mutated = []
        for name in (name for name in compiled.writable if name in given):
            after = backend.download(buffers[name], given[name].shape, str(given[name].dtype))
            if not np.array_equal(to_bits(given[name]), to_bits(after)):
                mutated.append(int(name[1:]))
        return outputs, mutated

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """See `base.Reproducible`. The file's text and the launch of this case; nothing is compiled to write it."""
        try:
            source = self._fitted(spec)
            scope = self._scope(spec.operator, spec.dtypes, sizes)
            call = call_of(self._header, scope)
        except (BuildRejected, BadExpression) as error:
            raise NotSupported(str(error)) from error
        buffers, lines = {}, []
        for number, name in enumerate(self._header.buffers):
            shape, dtype = scope.spec(name)
            buffers[name] = f"b{number}"
            made = f"unwritten({size_of(shape, numpy_dtype(dtype).itemsize)})"
            if name.startswith("x"):
                made = f"buffer({name}{self._backend.converted(dtype)})"
            lines.append(f"b{number} = {made}  # {name}: {dtype}{list(shape)}")
        reads = [
            f"read({buffers[f'out{n}']}, {shape!r}, {attribute('torch', dtype)})"
            for n, (shape, dtype) in enumerate(scope.outputs)
        ]
        steps = LaunchSource(parameters(len(spec.dtypes)), buffers, lines, f"[{', '.join(reads)}]")
        return self._backend.reproducer(source, self._header, call, steps)


def _backend(suffix: str) -> Backend:
    """The backend for files of that suffix. Raises `Unavailable` where its device or package is missing."""
    if suffix == ".cl":
        from tapml_fuzz.platforms.kernels.opencl import OpenCLKernels

        return OpenCLKernels()
    if suffix == ".wgsl":
        from tapml_fuzz.platforms.kernels.wgsl import WgslKernels

        return WgslKernels()
    from tapml_fuzz.platforms.kernels.cuda import CudaKernels

    return CudaKernels()
