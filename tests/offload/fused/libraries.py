"""A small Relax module, compiled into shared libraries: as it is, or with its text changed first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapml_fuzz.core.dtypes import Array

MAIN = "forward"
GELU, SOFTMAX, MATMUL = "fused_matmul_add_gelu", "fused_softmax_add2", "fused_matmul1_add1"
FUNCTIONS = {GELU, SOFTMAX, MATMUL, "transpose", "transpose1"}
_ROWS = 8


def module(hidden: int = 32) -> Any:
    """Two layers x + softmax(gelu(x A + a) B + b), fused into one PrimFunc for each step; weights are parameters."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)

        def forward(self, x: Any) -> Any:
            return nn.op.add(x, nn.op.softmax(self.b(nn.op.gelu(self.a(x))), axis=-1))

    class Model(nn.Module):
        def __init__(self) -> None:
            self.l0, self.l1 = Layer(), Layer()

        def forward(self, x: Any) -> Any:
            return self.l1(self.l0(x))

    exported, _ = Model().export_tvm({MAIN: {"x": nn.spec.Tensor(["n", hidden], "float32")}})
    fuse = tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        ]
    )
    return fuse(exported)


def changed(original: Any, old: str, new: str, inside: str = "") -> Any:
    """The module with `old` replaced by `new` in its text, the first time after the definition of `inside`."""
    from tvm.script import from_source

    text = original.script(show_meta=True)
    start = text.index(f"def {inside}(") if inside else 0
    assert old in text[start:]
    return from_source(text[:start] + text[start:].replace(old, new, 1))


def first_statement(original: Any, inside: str, statement: str) -> Any:
    """The module with a statement before everything else that a function does."""
    root = '# with T.sblock("root"):\n'
    return changed(original, root, f"{root}        {statement}\n", inside)


def compiled(something: Any, path: Path, **target: Any) -> Path:
    import tvm
    from tvm import relax

    pipeline = relax.pipeline.get_default_pipeline(tvm.target.Target("llvm"))
    chosen = tvm.target.Target({"kind": "llvm", **target})
    tvm.compile(something, target=chosen, relax_pipeline=pipeline).export_library(str(path))
    return path


def inputs(hidden: int = 32) -> dict[str, Array]:
    random = np.random.default_rng(0)

    def normal(*shape: int, scale: float) -> Array:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    given = {"x": normal(_ROWS, hidden, scale=1.0)}
    for layer in ("l0", "l1"):
        given[f"{layer}.a.weight"] = normal(2 * hidden, hidden, scale=0.3)
        given[f"{layer}.a.bias"] = normal(2 * hidden, scale=0.1)
        given[f"{layer}.b.weight"] = normal(hidden, 2 * hidden, scale=0.3)
        given[f"{layer}.b.bias"] = normal(hidden, scale=0.1)
    return given
