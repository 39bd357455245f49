"""torch.compile with its default backend, inductor: C++ kernels on the CPU, Triton's on CUDA.

One build serves every size of the open axes. torch compiles a shape with a size of 0 or 1 separately unless it is
told to treat these sizes like any other (`backed_size_oblivious`, as serving engines do); what needs it even so is
compiled along with the build. Nothing is ever compiled while a case runs: what would be is `NotSupported`.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    DeviceLost,
    Info,
    NeedsStatic,
    NotSupported,
    Reproducer,
    Unavailable,
)
from tapml_fuzz.platforms.build_cache import bound, cache_folder
from tapml_fuzz.platforms.poison import perturb_fresh_memory
from tapml_fuzz.platforms.torch.eager import TorchCpu, TorchCuda, _TorchEager
from tapml_fuzz.platforms.torch.inductor_reproducer import inductor_reproducer

# Sizes of open axes while compiling: primes, so that none is a multiple of another, none of them 0 or 1. The second
# row checks that nothing was specialised to the first.
_EXAMPLES = ((11, 13, 17, 19, 23, 29, 31, 37), (7, 5, 43, 3, 41, 47, 53, 59))
# Kernels and torch's own records of them; the oldest files go first. An operator takes about 200 KB.
_CACHE_LIMIT = 256 << 20  # bytes
_SAID = 600  # characters of a compiler's message that are kept


@dataclass(frozen=True)
class _Build:
    """A build spec and its compiled call, which returns whatever the operator does."""

    spec: BuildSpec
    compiled: Any


class _Inductor(_TorchEager):
    """The parts that the CPU's and CUDA's platform share, beside the eager platform of that device."""

    def activate(self) -> Info:
        eager: Info = super().activate()  # type: ignore[misc]
        info = msgspec.structs.replace(eager, name=self.name)
        lacking = self.lacking()
        if lacking is not None:
            raise Unavailable(*lacking)
        assert info.capabilities is not None
        try:
            folder = cache_folder("torch-inductor")
            bound(folder, _CACHE_LIMIT)
        except OSError as error:
            hint = "set XDG_CACHE_HOME to a folder that can be written"
            raise Unavailable(f"no folder for compiled kernels: {error}", hint) from error
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # read when inductor is imported, so no sooner
        importlib.import_module("torch._inductor.compile_fx")  # some seconds, which no build should be charged with
        perturb_fresh_memory()
        # Other strides would be other builds: inputs are packed.
        capabilities = msgspec.structs.replace(info.capabilities, strided=False)
        return msgspec.structs.replace(info, eager=False, capabilities=capabilities, policy=self.policy())

    def lacking(self) -> tuple[str, str] | None:
        """The tool that is missing to compile for the device, and how to get it; None when nothing is."""
        raise NotImplementedError

    def policy(self) -> Policy:
        """The numerical policy of generated kernels, which may differ from torch's own."""
        raise NotImplementedError

    def build(self, spec: BuildSpec) -> _Build:
        """Compile by running once on examples, then on others, until every kind of size has its kernel.

        Raises `NeedsStatic` for a build spec with open axes that does not compile, or whose axis torch fixes.
        """
        import torch

        super().build(spec)
        operator = spec.operator
        opened = [name for name in operator.axis_names if name not in spec.sizes]
        module = traced(spec)
        compiled: Any = torch.compile(module)
        first, other = ({**dict(zip(opened, row, strict=False)), **spec.sizes} for row in _EXAMPLES)
        with torch.no_grad():
            try:
                with _oblivious():
                    compiled(*self._examples(spec, first))
            except Exception as error:
                self._give_up_a_lost_device(error)
                raise self._refusal(spec, module, first, error, opened) from error
            if opened:
                self._settle(spec, compiled, module, opened, other)
        return _Build(spec, compiled)

    def _settle(
        self, spec: BuildSpec, compiled: Any, module: Any, opened: Sequence[str], sizes: Mapping[str, int]
    ) -> None:
        """Make sure that `compiled` serves other sizes, and compile what sizes of 0 and 1 need besides, as torch does.

        Raises `NeedsStatic` where it does not.
        """
        import torch

        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                compiled(*self._examples(spec, sizes))
        except Exception as error:
            self._give_up_a_lost_device(error)
            raise NeedsStatic(f"torch.compile fixes a size: {_complaint(error)}") from error
        for special in [*({name: size} for name in opened for size in (0, 1)), dict.fromkeys(opened, 0)]:
            if any(index.extent.value({**sizes, **special}) == 0 for index in spec.operator.indexes):
                continue  # no index is valid there, and on CUDA an invalid one costs the device
            try:
                compiled(*self._examples(spec, {**sizes, **special}))
            except Exception as error:
                self._give_up_a_lost_device(error)
                if _runs(module, self._examples(spec, {**sizes, **special})):
                    raise NeedsStatic(f"with {special}: {_complaint(error)}", tuple(special)) from error

    def _give_up_a_lost_device(self, error: Exception) -> None:
        """An error of CUDA itself stays with the process: every later call reports it again."""
        if self.device == "cuda" and "CUDA error" in str(error):
            raise DeviceLost(str(error)) from error

    def _refusal(
        self, spec: BuildSpec, module: Any, sizes: Mapping[str, int], error: Exception, opened: Sequence[str]
    ) -> Exception:
        """The exception that `build` raises in place of `error`, which torch.compile raised."""
        message = f"{type(error).__name__}: {_complaint(error)}"
        if opened:
            return NeedsStatic(message)
        if not _runs(module, self._examples(spec, sizes)):
            return NotSupported(f"eager torch does not run it either: {message}")
        return BuildRejected(message, module.code)

    def run(
        self, build: _Build, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`; inputs are packed. Raises `NotSupported` where torch would compile again."""
        import torch

        try:
            with torch.compiler.set_stance("fail_on_recompile"):
                return super().run(build, tensors, layouts, sizes)
        except RuntimeError as error:
            if "fail_on_recompile" in str(error):
                raise NotSupported(f"torch.compile would compile again: {_complaint(error)}") from error
            raise

    def results(self, build: _Build, tensors: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
        from tapml_fuzz.operators.invoke import flatten

        operator = build.spec.operator
        expected = operator.shapes(sizes)
        if any(tuple(tensor.shape) != shape for tensor, shape in zip(tensors, expected, strict=True)):
            raise ValueError(f"inputs have shapes {[tuple(tensor.shape) for tensor in tensors]}, not {list(expected)}")
        return tuple(operator.used(flatten(build.compiled(*tensors))))

    def packs(self, build: _Build) -> bool:
        return True

    def _placed(self, array: Array, layout: Layout) -> Any:
        """A packed tensor with the strides that torch itself gives one; numpy's differ where a size is 0."""
        import torch

        from tapml_fuzz.operators.invoke import to_torch

        tensor = to_torch(array)
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=self.device).copy_(tensor)

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        return inductor_reproducer(spec, self.device)

    def _examples(self, spec: BuildSpec, sizes: Mapping[str, int]) -> list[Any]:
        """Tensors to compile with: ones, so that nothing is divided by zero, and zeros as indices."""
        import torch
        from torch._dynamo.decorators import maybe_mark_dynamic

        from tapml_fuzz.operators.invoke import torch_dtype

        indices = {index.slot for index in spec.operator.indexes}
        made = []
        for slot, (axes, dtype) in enumerate(zip(spec.operator.axes, spec.dtypes, strict=True)):
            shape = [size.value(sizes) for size in axes]
            fill = torch.zeros if slot in indices else torch.ones
            tensor = fill(shape, dtype=torch_dtype(dtype), device=self.device)
            for axis, size in enumerate(axes):
                if any(name not in spec.sizes for name in size.axes):
                    maybe_mark_dynamic(tensor, axis)
            made.append(tensor)
        return made


class TorchInductor(_Inductor, TorchCpu):
    """torch.compile on the CPU, one thread."""

    name = "torch-inductor"

    def lacking(self) -> tuple[str, str] | None:
        """The C++ compiler and how to get it, unless there is one."""
        compiler = os.environ.get("CXX", "g++")  # where inductor looks, too
        if shutil.which(compiler) is None:
            return f"no C++ compiler ({compiler}) to compile kernels with", "apt install g++, or name one in CXX"
        return None

    def policy(self) -> Policy:
        """The eager platform's policy."""
        return Policy(accuracy="ieee", source="torch CPU kernels; denormals are kept by default")


class TorchInductorCuda(_Inductor, TorchCuda):
    """torch.compile on the first CUDA device, without TF32 and without reductions in half precision."""

    name = "torch-inductor-cuda"

    def lacking(self) -> tuple[str, str] | None:
        """Triton and how to get it, unless it is installed."""
        from importlib.util import find_spec

        if find_spec("triton") is None:
            return "no Triton to compile kernels with", "pip install triton"
        return None

    def policy(self) -> Policy:
        """Triton's accuracy, whose division is not IEEE's."""
        return Policy(accuracy="triton", source="PTX ISA, div.full.f32: Triton's division; no TF32, no half sums")


def traced(spec: BuildSpec) -> Any:
    """A `torch.fx.GraphModule` that is the operator's call: tensors in, whatever the operator returns out."""
    import torch
    from torch.fx import Graph, GraphModule, Proxy
    from torch.fx.node import map_aggregate
    from torch.fx.proxy import GraphAppendingTracer

    from tapml_fuzz.core.dtypes import is_float
    from tapml_fuzz.operators.export import carriers
    from tapml_fuzz.operators.invoke import resolve, torch_dtype

    operator = spec.operator
    graph = Graph()
    tracer = GraphAppendingTracer(graph)
    tensors: list[Any] = [Proxy(graph.placeholder(f"x{slot}"), tracer) for slot in range(len(operator.axes))]
    places = {name: place for name, place in carriers(operator).items() if name not in spec.sizes}
    hidden = [name for name in operator.axis_names if name not in spec.sizes and name not in places]
    if hidden:
        raise NeedsStatic(f"no tensor carries axis {', '.join(hidden)} alone", tuple(hidden))
    sizes: dict[str, Any] = {**spec.sizes, **{n: tensors[slot].shape[axis] for n, (slot, axis) in places.items()}}
    floating = next((torch_dtype(name) for name in spec.dtypes if is_float(name)), torch.float32)
    args, kwargs = operator.bind(
        tensors, sizes, dtype_of=lambda name: floating if name == "input" else torch_dtype(name)
    )
    nodes = map_aggregate((tuple(args), kwargs), lambda leaf: leaf.node if isinstance(leaf, Proxy) else leaf)
    graph.output(graph.call_function(resolve(operator.name), *cast("tuple[Any, Any]", nodes)))
    graph.eliminate_dead_code()
    return GraphModule(torch.nn.Module(), graph)


@contextmanager
def _oblivious() -> Iterator[None]:
    """Compile within so that sizes of 0 and 1 are taken like any other, where that can be."""
    from torch.fx.experimental import _config

    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        yield


def _runs(module: Any, tensors: Sequence[Any]) -> bool:
    """Whether eager torch runs the call."""
    try:
        module(*tensors)
    except Exception:
        return False
    return True


def _complaint(error: Exception) -> str:
    """The part of a message from torch.compile that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wrong = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return ("; ".join(wrong) or " ".join(lines[:3]) or "no message")[:_SAID]
