"""From TVM's object files to a WebAssembly module that tvmjs runs: emscripten, and TVM's runtime built from its wheel.

The runtime is compiled once (half a minute) and kept in `$XDG_CACHE_HOME/tapml-fuzz/tvmjs/`, under a name made of
everything that goes into it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Half of what a worker has to start.
_COMPILE_TIMEOUT_S = 100.0
_LINK_TIMEOUT_S = 60.0
_COMPILE = ("-std=c++17", "-O1", "-Wno-ignored-attributes")
# As TVM's own `tvm.support.emcc` links, save optimisation, which takes a minute and changes no kernel.
_LINK = (
    "-O0", "--no-entry", "-sWASM_BIGINT=1", "-sERROR_ON_UNDEFINED_SYMBOLS=0", "-sSTANDALONE_WASM=1",
    "-sALLOW_MEMORY_GROWTH=1", "-Wno-undefined",
)  # fmt: skip
_OURS = Path(__file__).with_name("tvmjs")
_PACKAGE = "@mlc-ai/web-runtime"


class Missing(Exception):
    """Something is not installed, or does not work; `mend` says how to get it."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass(frozen=True)
class Toolchain:
    """emscripten, and TVM's runtime as an object file of it."""

    emcc: str
    version: str
    runtime: Path

    def link(self, objects: Sequence[str], output: Path) -> None:
        """Link TVM's object files with the runtime into a module; raises `RuntimeError` with what the linker says."""
        _called([self.emcc, *_LINK, "-o", str(output), str(self.runtime), *objects], _LINK_TIMEOUT_S)


def find_tvmjs() -> Path:
    """tvmjs as npm installs it: below the folder `$TVMJS`, the current folder, or our cache. Raises `Missing`."""
    named = os.environ.get("TVMJS")
    folders = [Path(named)] if named else [Path.cwd(), _cache()]
    for folder in folders:
        script = folder / "node_modules" / _PACKAGE / "lib" / "index.js"
        if script.is_file():
            return script
    raise Missing(f"no {_PACKAGE} (tvmjs)", f"npm install --prefix {_cache()} {_PACKAGE}")


def find_toolchain() -> Toolchain:
    """emscripten on PATH and the runtime, compiled if it is not in the cache. Raises `Missing`."""
    emcc = shutil.which("emcc")
    if emcc is None:
        raise Missing("no emcc to link WebAssembly with", "apt install emscripten")
    version = _called([emcc, "--version"], _LINK_TIMEOUT_S).splitlines()[0].partition(") ")[2].split()[0]
    return Toolchain(emcc, version, _runtime(emcc, version))


def _runtime(emcc: str, version: str) -> Path:
    import tvm
    import tvm_ffi

    wheels = [Path(package.__file__).parent for package in (tvm, tvm_ffi)]
    tvm_root, ffi_root = wheels
    for source in (tvm_root / "web/emcc/webgpu_runtime.cc", ffi_root / "src/ffi/function.cc"):
        if not source.is_file():
            raise Missing(f"this TVM does not come with {source.name}", "pip install 'apache-tvm>=0.27'")
    ours = sorted(path for path in _OURS.rglob("*") if path.is_file())
    parts = [version, tvm.__version__, tvm_ffi.__version__, *_COMPILE, *(path.read_text() for path in ours)]
    name = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
    runtime = _cache() / f"runtime-{name}.o"
    if runtime.is_file():
        return runtime
    runtime.parent.mkdir(parents=True, exist_ok=True)
    includes = (
        _OURS / "include", _OURS / "src/support", tvm_root, tvm_root / "include", ffi_root, ffi_root / "include",
        ffi_root / "3rdparty/dlpack/include",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=runtime.parent) as folder:
        made = Path(folder) / "runtime.o"
        command = [emcc, *_COMPILE, *(f"-I{path}" for path in includes), "-c", str(_OURS / "runtime.cc")]
        try:
            _called([*command, "-o", str(made)], _COMPILE_TIMEOUT_S)
        except RuntimeError as error:
            raise Missing(f"TVM's runtime does not compile: {error}", "pip install apache-tvm==0.27.0.post1") from error
        made.replace(runtime)  # whole or not at all, however many workers do this at once
    return runtime


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tapml-fuzz" / "tvmjs"


def _called(command: Sequence[str], seconds: float) -> str:
    """What the command prints; raises `RuntimeError` with its first error when it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no end within {seconds:g} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error:" in line] or lines or [f"status {done.returncode}"]
        raise RuntimeError(errors[0].rpartition("error: ")[2][:600])
    return done.stdout
