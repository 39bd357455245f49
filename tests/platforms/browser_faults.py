"""The browser platform with a fault put into an operator's own wasm file, for tests of what comes of it."""

from __future__ import annotations

from pathlib import Path

from tapml_fuzz.platforms.browser.platform import TvmWebGPUBrowser
from tapml_fuzz.platforms.tvm.lowering import Program

# A line of the shader's comments, which a patch may use up: the file's layout must stay.
_COMMENT = b"//" + b"-" * 40


def patched(module: bytes, old: bytes, new: bytes) -> bytes:
    """A wasm module whose WGSL has `new` in the one place of `old`, and is as long as before."""
    assert module.count(old) == 1, f"{old!r} occurs {module.count(old)} times"
    more = len(new) - len(old)
    if more <= 0:
        return module.replace(old, new + b" " * -more)
    comment = module.index(_COMMENT)
    assert more < len(_COMMENT) - 2
    assert comment < module.index(old), "the comment comes first"
    shorter = module[: comment + 2] + module[comment + 2 + more :]
    return shorter.replace(old, new)


class Endless(TvmWebGPUBrowser):
    """Kernels that never end."""

    def _compile(self, program: Program, library: Path) -> str:
        source = super()._compile(program, library)
        begin = source.index("  if (blockIdx.z * gridDim.x")
        guard = source[begin : source.index("\n", begin)].encode()
        written = source.split("storage, read_write> ")[1].split(" :")[0].encode()
        endless = b"while (true) { %s[0] = %s[0] + 1; }" % (written, written)
        library.write_bytes(patched(library.read_bytes(), guard, endless))
        return source
