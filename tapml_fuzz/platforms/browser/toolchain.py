"""From TVM's object files to a WebAssembly module that tvmjs runs: emscripten, and TVM's runtime built from its wheel.

The runtime is compiled once, which takes half a minute of one core, and kept in `$XDG_CACHE_HOME/tapml-fuzz/tvmjs/`
under names made of everything that goes into it. This file run by path compiles it and nothing else; so does a worker
that finds none, and what it started goes on when the worker has waited long enough.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# A worker has 120 s to start. Compiling the runtime takes a minute on two idle cores, linking a kernel one second.
_WAIT_S = 50.0
_COMPILE_TIMEOUT_S = 900.0
_LINK_TIMEOUT_S = 60.0
_COMPILE = ("-std=c++17", "-O1", "-Wno-ignored-attributes")
# As TVM's own `tvm.support.emcc` links, save optimisation, which takes a minute and changes no kernel.
_LINK = (
    "-O0", "--no-entry", "-sWASM_BIGINT=1", "-sERROR_ON_UNDEFINED_SYMBOLS=0", "-sSTANDALONE_WASM=1",
    "-sALLOW_MEMORY_GROWTH=1",
)  # fmt: skip
_OURS = Path(__file__).with_name("tvmjs")
_PARTS = ("ffi", "runtime")
_PACKAGE = "@mlc-ai/web-runtime"


class Missing(Exception):
    """Something is not installed, or does not work; `hint` says how to get it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class Toolchain:
    """emscripten, and TVM's runtime as object files of it.

    Attributes:
        emcc: path of the compiler.
        version: of emscripten, as in `"3.1.6"`.
        runtime: paths of the object files, which need not exist yet.
    """

    emcc: str
    version: str
    runtime: tuple[Path, ...]

    def link(self, objects: Sequence[str], output: Path) -> None:
        """Link TVM's object files with the runtime into a module; raises `RuntimeError` with what the linker says."""
        _called([self.emcc, *_LINK, "-o", str(output), *map(str, self.runtime), *objects], _LINK_TIMEOUT_S)


def find_tvmjs() -> Path:
    """The path of tvmjs as npm installs it: below the folder `$TVMJS`, else below the current folder or our cache.

    Raises `Missing`.
    """
    named = os.environ.get("TVMJS")
    folders = [Path(named)] if named else [Path.cwd(), _cache()]
    for folder in folders:
        reproducer = folder / "node_modules" / _PACKAGE / "lib" / "index.js"
        if reproducer.is_file():
            return reproducer
    raise Missing(f"no {_PACKAGE} (tvmjs)", f"npm install --prefix {_cache()} {_PACKAGE}")


def version_of(tvmjs: Path) -> str:
    """The version of the tvmjs found by `find_tvmjs`, as npm names it."""
    return str(json.loads((tvmjs.parents[1] / "package.json").read_text())["version"])


def find_toolchain() -> Toolchain:
    """emscripten on PATH and the runtime, compiled if it is not in the cache. Raises `Missing`."""
    toolchain = _named()
    if not _complete(toolchain):
        compiler = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it goes on when this process ends
        )
        try:
            _, said = compiler.communicate(timeout=_WAIT_S)
        except subprocess.TimeoutExpired as error:
            # Somebody has to read what it says and take note of its end, should this process live as long.
            threading.Thread(target=compiler.communicate, daemon=True).start()
            raise Missing("TVM's runtime for WebAssembly is still being compiled", "try again in a minute") from error
        if not _complete(toolchain):
            words = [line.strip() for line in said.splitlines() if line.strip()] or ["no message"]
            raise Missing(f"TVM's runtime does not compile: {words[-1]}", "pip install apache-tvm==0.27.0.post1")
    return toolchain


def _complete(toolchain: Toolchain) -> bool:
    return all(path.is_file() for path in toolchain.runtime)


def _named() -> Toolchain:
    """The toolchain with the names that its runtime has or would have."""
    emcc = shutil.which("emcc")
    if emcc is None:
        raise Missing("no emcc to link WebAssembly with", "apt install emscripten")
    version = _called([emcc, "--version"], _LINK_TIMEOUT_S).splitlines()[0].partition(") ")[2].split()[0]
    ours = sorted(path for path in _OURS.rglob("*") if path.is_file())
    wheels = [importlib.metadata.version(name) for name in ("apache-tvm", "apache-tvm-ffi")]
    parts = [version, *wheels, *_COMPILE, *(path.read_text() for path in ours)]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return Toolchain(emcc, version, tuple(_cache() / f"{part}-{name}.o" for part in _PARTS))


def compile_runtime() -> None:
    """Compile the runtime into the cache, whole or not at all, if it is not there. Raises `RuntimeError`."""
    toolchain = _named()
    _cache().mkdir(parents=True, exist_ok=True)
    tvm, ffi = map(_folder, ("tvm", "tvm_ffi"))
    includes = (
        _OURS / "include", _OURS / "src/support", tvm, tvm / "include", ffi, ffi / "include",
        ffi / "3rdparty/dlpack/include",
    )  # fmt: skip
    options = [*_COMPILE, *(f"-I{path}" for path in includes)]
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _complete(toolchain):
            return
        with tempfile.TemporaryDirectory(dir=_cache()) as folder, ThreadPoolExecutor() as pool:
            made = [Path(folder) / path.name for path in toolchain.runtime]
            commands = [
                [toolchain.emcc, *options, "-c", str(_OURS / f"{part}.cc"), "-o", str(path)]
                for part, path in zip(_PARTS, made, strict=True)
            ]
            list(pool.map(lambda command: _called(command, _COMPILE_TIMEOUT_S), commands))
            for path, kept in zip(made, toolchain.runtime, strict=True):
                path.replace(kept)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"no Python package {package}")
    return Path(spec.origin).parent


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tapml-fuzz" / "tvmjs"


def _called(command: Sequence[str], seconds: float) -> str:
    """The output of the command; raises `RuntimeError` with its first error when it fails or takes too long."""
    # A group of its own, since emcc is a script and what takes the time is its child.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise RuntimeError(f"no end within {seconds:g} s") from error
    if process.returncode != 0:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if "error:" in line] or lines or [f"status {process.returncode}"]
        raise RuntimeError(errors[0].rpartition("error: ")[2][:600])
    return output


if __name__ == "__main__":
    compile_runtime()
