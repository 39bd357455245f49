"""Device memory that is kept from one run to the next: allocating and freeing it takes longer than small kernels do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.tvm.runtime import RuntimeBuild, TvmRuntime
from tapml_fuzz.platforms.tvm.tir_expression import Scalars

_SMALLEST = 256  # bytes; also what cudaMalloc aligns to
_KEPT = 64 << 20  # bytes per device


class Pool:
    """Buffers of a device by size, in powers of two. What is filled while it lends comes back when that ends.

    Attributes:
        kept: bytes of the buffers that are free, at most 64 MiB.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._lent: list[tuple[int, Any]] | None = None
        self.kept = 0  # bytes

    @property
    def lends(self) -> bool:
        """Whether a block of `lending` is running, so that `filled` may be called."""
        return self._lent is not None

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Within, `filled` gives tensors that may be overwritten once it ends. After an error nothing is kept."""
        self._lent = []
        try:
            yield
            for size, buffer in self._lent:
                self._take_back(size, buffer)
        except BaseException:
            self._free.clear()
            self.kept = 0
            raise
        finally:
            self._lent = None

    def filled(self, array: Array, dtype: str) -> Any:
        """A tensor on the device with the array's contents. Only while the pool lends."""
        assert self._lent is not None
        size = max(_SMALLEST, 1 << (array.nbytes - 1).bit_length())
        if free := self._free[size]:
            buffer = free.pop()
            self.kept -= size
        else:
            buffer = self._new(size)
        self._lent.append((size, buffer))
        tensor = buffer._create_view(array.shape, dtype)
        tensor.copyfrom(array)
        return tensor

    def _new(self, size: int) -> Any:
        import tvm

        return tvm.runtime.empty((size,), "uint8", self._device)

    def _take_back(self, size: int, buffer: Any) -> None:
        if self.kept + size <= _KEPT:
            self._free[size].append(buffer)
            self.kept += size


class PooledRuntime(TvmRuntime):
    """`TvmRuntime` with a pool for what lives only as long as a run. A subclass makes `pool` in its `activate`."""

    pool: Pool

    def upload(self, array: Array, dtype: str) -> Any:
        """A tensor on the device: the pool's while it lends, else a new one."""
        return self.pool.filled(array, dtype) if self.pool.lends else super().upload(array, dtype)

    def _execute(
        self, build: RuntimeBuild, tensors: Sequence[Array], scalars: Scalars, which: int
    ) -> tuple[list[Array], list[Array]]:
        with self.pool.lending():
            return super()._execute(build, tensors, scalars, which)
