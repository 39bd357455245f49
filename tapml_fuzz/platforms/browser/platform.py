"""TVM's WebAssembly and WGSL, run by tvmjs in a real browser: what an application that TVM compiled for the web runs.

Each operator is one wasm module of its own: TVM's runtime, the host code that LLVM generated for wasm32, and the
WGSL kernels. The browser's page (`page/page.js`) instantiates it with tvmjs, which makes the pipelines, the
buffers and the launches.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, numpy_dtype
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, DeviceLost, Info, NotSupported, Unavailable
from tapml_fuzz.platforms.browser.chromium import Browser, Gone, find_chromium
from tapml_fuzz.platforms.browser.toolchain import Missing, find_toolchain, find_tvmjs, version_of
from tapml_fuzz.platforms.devices.wgsl_types import narrowed, narrowed_spec
from tapml_fuzz.platforms.poison import poisoned, suspicious, unwritten
from tapml_fuzz.platforms.tvm.lowering import Program, TensorValue, failure, lower
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin
from tapml_fuzz.platforms.tvm.wgsl_outputs import refuse_outputs

_PAGE = {path.name: path for path in Path(__file__).with_name("page").iterdir()}
# Each is a wasm memory of 16 MiB and more, and a device; loading one anew takes a tenth of a second.
_LOADED = 16
# Seconds after which a page that does not answer is given up; a worker's own limit is usually lower.
_LOAD_S = 60.0
_RUN_S = 120.0


class BrowserError(Exception):
    """An error that WebGPU, tvmjs or wasm reported; whatever was computed meanwhile is not to be trusted."""


@dataclass(frozen=True, eq=False)
class BrowserBuild:
    """A lowered program, its wasm module, and the functions that it calls in it; one that calls none has no module.

    Attributes:
        program: the lowered program.
        number: the build's own, by which the page knows it.
        library: the wasm module's file, removed with the build.
        functions: names of the module's functions that are called, each once.
        source: WGSL of all kernels.
    """

    program: Program
    number: int
    library: Path | None
    functions: tuple[str, ...]
    source: str


class TvmWebGPUBrowser:
    """Apache TVM, target `webgpu` with its host code in WebAssembly, by tvmjs in headless Chromium on SwiftShader."""

    name = "tvm-webgpu-browser"
    row = TARGETS["tvm-webgpu-browser"]

    def activate(self) -> Info:
        """See `base.Platform.activate`; starts the browser, once TVM's runtime is compiled (50 s at most)."""
        chromium = find_chromium()
        if chromium is None:
            raise Unavailable("no Chromium", "apt install chromium, or name one in CHROMIUM")
        tvm, _ = begin(self.row, own_runtime=False)
        try:
            import websockets  # noqa: F401 (what `browser` imports later)
        except ImportError as error:
            raise Unavailable(f"cannot import: {error}", "pip install 'tapml_fuzz[browser]'") from error
        try:
            tvmjs = find_tvmjs()
            self._toolchain = find_toolchain()
            self._browser = Browser(chromium, {"tvmjs.js": tvmjs, **_PAGE})
        except Missing as error:
            raise Unavailable(str(error), error.hint) from error
        except Gone as error:
            raise Unavailable(f"{chromium} shows no page: {error}") from error
        hello = self._browser.hello
        if "fault" in hello:
            self.close()
            raise Unavailable(f"{chromium}: {hello['fault']}")
        self.target = tvm.target.Target(self.row.options())
        self._numbers = itertools.count(1)
        self._loaded: OrderedDict[int, None] = OrderedDict()
        self.activated = Info(
            self.name,
            True,
            device=f"Chromium {hello['browser']}, WebGPU adapter {hello['adapter']}; wasm and kernels run by tvmjs",
            versions={
                "apache-tvm": str(tvm.__version__),
                "chromium": str(hello["browser"]),
                "emscripten": self._toolchain.version,
                "tvmjs": version_of(tvmjs),
                "websockets": version("websockets"),
            },
            capabilities=Capabilities(self.row.dtypes, self.row.also_accepts, max_elements=int(hello["limit"]) // 4),
            policy=self.row.policy,
        )
        return self.activated

    def close(self) -> None:
        """End the browser."""
        self._browser.close()

    def build(self, spec: BuildSpec) -> BrowserBuild:
        """Lower, compile, link, and have the browser compile the shaders; see `base.Platform.build`.

        Raises `BuildRejected` with the WGSL when the browser refuses it, `NotSupported` for an output whose dtype no
        shader can write, and `DeviceLost` when the page has ended.
        """
        program = lower(narrowed_spec(spec), self.target, self.row.passes())
        refuse_outputs(program)
        number = next(self._numbers)
        if not program.calls:
            return BrowserBuild(program, number, None, (), "")
        library = self._browser.folder / f"{number}.wasm"
        source = self._compile(program, library)
        functions = tuple(dict.fromkeys(call.function for call in program.calls))
        build = BrowserBuild(program, number, library, functions, source)
        weakref.finalize(build, library.unlink, missing_ok=True)
        self._load(build)
        return build

    def _compile(self, program: Program, library: Path) -> str:
        """Write the program's wasm module to the file `library` and return the program's WGSL."""
        import tvm

        linked: list[RuntimeError] = []

        def link(output: str, objects: Sequence[str], **options: Any) -> None:
            try:
                self._toolchain.link(objects, Path(output))
            except RuntimeError as error:
                linked.append(error)
                raise

        link.object_format = "o"  # type: ignore[attr-defined]  # TVM asks for LLVM's bitcode otherwise
        try:
            functions = program.functions.with_attr("system_lib_prefix", "")
            module = tvm.tirx.build(functions, target=self.target)
            source = "\n".join(str(imported.inspect_source()) for imported in module.imports)
            module.export_library(str(library), fcompile=link, workspace_dir=str(self._browser.folder))
        except Exception as error:  # TVM raises many types; each means that it would not compile this
            if linked:
                raise BuildRejected(f"wasm does not link: {linked[0]}") from error
            raise failure(error, bool(program.axes)) from error
        return source

    def _load(self, build: BrowserBuild) -> None:
        assert build.library is not None
        header = {"op": "load", "build": build.number, "functions": build.functions}
        reply, _ = self._ask(header, [build.library.read_bytes()], _LOAD_S)
        if "rejected" in reply:
            raise BuildRejected(f"invalid shader: {reply['rejected']}", build.source)
        _raise_fault(reply)
        self._loaded[build.number] = None
        while len(self._loaded) > _LOADED:
            oldest, _ = self._loaded.popitem(last=False)
            self._ask({"op": "drop", "build": oldest}, (), _LOAD_S)

    def run(
        self, build: BrowserBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """Run with poisoned outputs; a second run, with another poison, tells unwritten elements from lookalikes.

        Raises `NotSupported` for tensors that tvmjs cannot copy and int64 values beyond 32 bits, `BrowserError` for
        what WebGPU, tvmjs or wasm reports, and `DeviceLost` when the device or the page is gone.
        """
        tensors = [narrowed(tensor) for tensor in tensors]
        scalars = build.program.scalars(tensors)
        started = time.perf_counter()
        outputs = self._execute(build, tensors, scalars, which=0)
        seconds = time.perf_counter() - started
        unread = (0,) * len(outputs)
        if suspicious(outputs):
            unread = unwritten(outputs, self._execute(build, tensors, scalars, which=1))
        return Ok(tuple(outputs), seconds, unread)

    def _execute(
        self, build: BrowserBuild, tensors: Sequence[Array], scalars: Mapping[Any, Any], which: int
    ) -> list[Array]:
        program = build.program
        storages = {value.storage: tensor for value, tensor in zip(program.inputs, tensors, strict=True)}
        storages.update(program.constants)
        for value in program.allocated:
            storages[value.storage] = poisoned(value.shape(scalars), value.dtype, which)
        shapes = [value.shape(scalars) for value in program.outputs]
        if build.library is None:
            return [storages[v.storage].reshape(shape).copy() for v, shape in zip(program.outputs, shapes, strict=True)]
        _refuse_narrow(storages)
        if build.number in self._loaded:
            self._loaded.move_to_end(build.number)
        else:
            self._load(build)
        header = {
            "op": "run",
            "build": build.number,
            "storages": [[key, str(array.dtype), array.shape, array.nbytes] for key, array in storages.items()],
            "calls": [[call.function, [_argument(a, scalars) for a in call.arguments]] for call in program.calls],
            "outputs": [[v.storage, v.dtype, shape] for v, shape in zip(program.outputs, shapes, strict=True)],
        }
        reply, data = self._ask(header, [array.tobytes() for array in storages.values()], _RUN_S)
        if "fault" in reply:
            self._loaded.pop(build.number, None)
        _raise_fault(reply)
        return list(_outputs(program, shapes, data))

    def _ask(
        self, header: Mapping[str, Any], parts: Sequence[bytes] = (), seconds: float | None = None
    ) -> tuple[dict[str, Any], memoryview]:
        try:
            return self._browser.ask(header, parts, seconds)
        except Gone as error:
            raise DeviceLost(str(error)) from error


def _raise_fault(reply: Mapping[str, Any]) -> None:
    if "fault" in reply:
        raise (DeviceLost if reply["lost"] else BrowserError)(str(reply["fault"])[:2000])


def _refuse_narrow(storages: Mapping[int, Array]) -> None:
    """tvmjs copies whole 32-bit words only."""
    for array in storages.values():
        if array.itemsize < 4:
            raise NotSupported(f"tvmjs copies no tensors of {array.dtype}")


def _argument(argument: Any, scalars: Mapping[Any, Any]) -> list[Any]:
    if isinstance(argument, TensorValue):
        return ["tensor", argument.storage, argument.shape(scalars)]
    value = argument(scalars)
    return ["float" if isinstance(value, float) else "int", value]


def _outputs(program: Program, shapes: Sequence[tuple[int, ...]], data: memoryview) -> Iterator[Array]:
    offset = 0
    for value, shape in zip(program.outputs, shapes, strict=True):
        element = numpy_dtype(value.dtype)
        count = int(np.prod(shape, dtype=np.int64))
        yield np.frombuffer(data, element, count, offset).reshape(shape).copy()
        offset += count * element.itemsize
