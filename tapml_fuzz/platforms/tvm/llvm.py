"""TVM compiled by LLVM for this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildSpec, Info, Reproducer, Unavailable
from tapml_fuzz.platforms.poison import perturb_fresh_memory
from tapml_fuzz.platforms.tvm.reproducers import cpu_reproducer
from tapml_fuzz.platforms.tvm.runtime import DTYPES, TvmRuntime


class TvmLlvm(TvmRuntime):
    """Apache TVM, target `llvm`."""

    name = "tvm-llvm"

    def activate(self) -> Info:
        try:
            import tvm

            codegen = tvm.get_global_func("target.build.llvm", allow_missing=True)
        except (ImportError, OSError) as error:
            raise Unavailable(f"TVM cannot be imported: {error}", "pip install apache-tvm") from error
        if codegen is None:
            raise Unavailable("this TVM has no LLVM code generator", "pip install apache-tvm")
        perturb_fresh_memory()
        self.target = tvm.target.Target("llvm")
        self.device = tvm.cpu()
        return Info(
            self.name,
            True,
            device=str(tvm.get_global_func("target.llvm_get_system_cpu")()),
            versions={"apache-tvm": str(tvm.__version__)},
            capabilities=Capabilities(dtypes=DTYPES, strided=False, symbolic=True),
            policy=Policy(accuracy="ieee", source="LLVM's default code generation: no fast-math flags"),
        )

    def passes(self) -> Any:
        from tvm.relax.backend.cpu_generic import pipeline

        return pipeline

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """By way of Relax's virtual machine, which a developer of TVM knows better than the bare tensor programs."""
        return cpu_reproducer(spec, sizes, layouts)
