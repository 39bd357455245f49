"""TVM on the processor with the memory pool that devices have, so that the pool can be tried without one."""

from __future__ import annotations

from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.tvm.native import TvmLlvm
from tapml_fuzz.platforms.tvm.pool import Pool, PooledRuntime


class PooledLlvm(PooledRuntime, TvmLlvm):
    name = "pooled-llvm"

    def activate(self) -> Info:
        info = super().activate()
        self.pool = Pool(self.device)
        return info
