"""TVM compiled to C for this machine's CPU, and that by gcc."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapml_fuzz.core.case import Layout
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, Info, Reproducer, Unavailable
from tapml_fuzz.platforms.build_cache import BuildCache
from tapml_fuzz.platforms.poison import perturb_fresh_memory
from tapml_fuzz.platforms.tvm.reproducers import c_reproducer
from tapml_fuzz.platforms.tvm.runtime import TvmRuntime
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin

_COMPILER = "gcc"
_OPTIONS = ("-O2",)  # what a deployment gives it; `export_library` itself gives none
_SAID = 600  # characters of the compiler's message that are kept


class TvmC(TvmRuntime):
    """Apache TVM, target `c`, through gcc."""

    name = "tvm-c"
    row = TARGETS["tvm-c"]

    def activate(self) -> Info:
        """See `base.Platform.activate`; `Unavailable` without gcc on PATH as well."""
        compiler = shutil.which(_COMPILER)
        if compiler is None:
            raise Unavailable("no gcc to compile TVM's C with", "apt install gcc")
        tvm, self.device = begin(self.row)
        perturb_fresh_memory()
        self.target = tvm.target.Target(self.row.options())
        version = _version(compiler)
        self._compiler = (str(tvm.__version__), version, *_OPTIONS)
        self._cache = BuildCache("tvm-c")
        return self.described(tvm, f"CPU, {compiler} {' '.join(_OPTIONS)}", gcc=version)

    def compiled(self, functions: Any) -> Any:
        """The gcc-compiled library of the tensor programs, loaded, and kept in the build cache.

        Raises `BuildRejected` with the C source when gcc refuses it, else whatever TVM raises.
        """
        import tvm

        module = super().compiled(functions)
        source = str(module.inspect_source())
        raw = self._cache.made(lambda: _library(module, source), *self._compiler, source)
        # A library that is mapped needs no file any more: nothing is left behind, however the worker ends.
        with _scratch() as folder:
            path = Path(folder) / "operator.so"
            path.write_bytes(raw)
            return tvm.runtime.load_module(str(path))

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of Relax's virtual machine, as a library of C."""
        return c_reproducer(spec, sizes, layouts, _COMPILER, _OPTIONS)


def _library(module: Any, source: str) -> bytes:
    """gcc's shared library; raises `BuildRejected` with the C source when gcc refuses it."""
    with _scratch() as folder:
        path = Path(folder) / "operator.so"
        try:
            module.export_library(str(path), cc=_COMPILER, options=list(_OPTIONS))
        except RuntimeError as error:
            raise BuildRejected(f"gcc: {c_complaint(str(error))}", source) from error
        return path.read_bytes()


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tapml-fuzz-c-", ignore_cleanup_errors=True)


def c_complaint(message: str) -> str:
    """The lines of a failed compilation that say what is wrong, without the paths of a folder that is gone."""
    lines = [line.partition("error: ")[2] for line in message.splitlines() if "error: " in line]
    return "; ".join(lines or [message.strip()])[:_SAID]


def _version(compiler: str) -> str:
    said = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, timeout=10, check=False)
    return said.stdout.strip() or "unknown"
