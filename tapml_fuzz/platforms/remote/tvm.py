"""TVM's runtime on a plain TVM RPC server: operators are compiled here for the machine there, uploaded, run there."""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array, name_of, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.base import (
    BuildRejected,
    BuildSpec,
    Info,
    MachineUnreachable,
    NeedsStatic,
    NotSupported,
    Platform,
    Relayed,
    Reproducer,
    Unavailable,
    reproducer_of,
)
from tapml_fuzz.platforms.registry import load, location
from tapml_fuzz.platforms.tvm.runtime import RuntimeBuild, TvmRuntime
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin

_OURS = "run `python -m tapml_fuzz serve` there instead"
# Remote tensors of earlier inputs that are kept, in bytes; smaller ones are not worth a name.
_KEPT = 64 << 20
_SMALL = 4096

_Answer = TypeVar("_Answer")


class RemoteTvm(TvmRuntime):
    """TVM platform `name` on the server of `session`.

    `triple` is LLVM's name of the processor there, where the server cannot say it itself.
    """

    def __init__(self, session: Any, name: str, triple: str = "") -> None:
        self.name = name
        self._session = session
        self._triple = triple
        self._modules: dict[str, Any] = {}
        self._inputs: OrderedDict[bytes, tuple[int, Any]] = OrderedDict()
        self._input_bytes = 0

    def activate(self) -> Info:
        """See `base.Platform.activate`. The target is that of the device and processor over there."""
        row = TARGETS.get(self.name)
        if row is None or not row.over_rpc:
            raise Unavailable("a plain TVM RPC server runs what TVM's runtime runs, no other", _OURS)
        self.row = row
        tvm, _ = begin(row, own_runtime=False)  # the operator is compiled here
        more: dict[str, Any] = {}
        on_processor = row.device == "cpu"
        try:
            self.device = self._session.device(row.device)
            if not on_processor and not self.device.exist:
                raise Unavailable(f"the TVM of the server has no {row.device} device", _OURS)
            triple = self._triple or self._asked("target.llvm_get_system_triple")
            processor = self._asked("target.llvm_get_system_cpu") if on_processor else None
            if row.device == "cuda":
                more["arch"] = f"sm_{str(self.device.compute_version).replace('.', '')}"
            name = str(processor or triple) if on_processor else str(self.device.device_name)
        except Unavailable:
            raise
        except Exception as error:
            raise self._meant(error) from error
        if triple is None:
            hint = f"add ?triple=TRIPLE to its address, such as aarch64-linux-android; or {_OURS}"
            raise Unavailable("the server's TVM cannot say what processor it has", hint)
        here = str(tvm.get_global_func("target.llvm_get_system_triple")())
        # Linked here where that makes a library for there, else by the server.
        self._suffix = "so" if triple == here else "tar"
        there = {} if triple == here else {"mtriple": triple}
        more |= there if on_processor else {"host": {**(row.host or {}), **there}}
        self.target = tvm.target.Target(row.options(**more))
        return self.described(tvm, name)

    def compiled(self, functions: Any) -> Any:
        """The library of compiled `functions`, uploaded unless the session has it, and loaded there.

        Raises `MachineUnreachable` when the machine no longer answers.
        """
        module = super().compiled(functions)
        with tempfile.TemporaryDirectory(prefix="tapml-fuzz-rpc-", ignore_cleanup_errors=True) as folder:
            library = Path(folder) / f"operator.{self._suffix}"
            module.export_library(str(library))
            data = library.read_bytes()
        name = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}.{self._suffix}"
        if name not in self._modules:
            try:
                self._session.upload(bytearray(data), name)
                self._modules[name] = self._session.load_module(name)
            except Exception as error:
                raise self._meant(error) from error
        return self._modules[name]

    def build(self, spec: BuildSpec) -> RuntimeBuild:
        """See `base.Platform.build`. Raises `MachineUnreachable` too, when the machine no longer answers."""
        try:
            return super().build(spec)
        except (BuildRejected, NotSupported, NeedsStatic) as error:
            if isinstance(error.__cause__, MachineUnreachable):
                raise error.__cause__ from error
            raise

    def run(
        self, build: RuntimeBuild, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """See `base.Platform.run`. Raises `MachineUnreachable` too, when the machine no longer answers."""
        run = self._asking(super().run, build, tensors, layouts, sizes)
        if run.mutated:  # what was kept is no longer what it was kept for
            self._inputs.clear()
            self._input_bytes = 0
        return run

    def place(self, array: Array) -> Any:
        """See `device_tensors.Resident.place`; the tensor is on the device over there."""
        return self._asking(super().place, array)

    def compute(self, build: RuntimeBuild, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        """See `device_tensors.Resident.compute`. Raises `MachineUnreachable` when the machine no longer answers."""
        return self._asking(super().compute, build, tensors, sizes)

    def fetch(self, tensor: Any) -> Array:
        """See `device_tensors.Resident.fetch`. Raises `MachineUnreachable` when the machine no longer answers."""
        return self._asking(super().fetch, tensor)

    def _asking(self, what: Callable[..., _Answer], *arguments: Any) -> _Answer:
        try:
            return what(*arguments)
        except Exception as error:
            raise self._meant(error) from error

    def upload_unchanged(self, array: Array, dtype: str) -> Any:
        """The remote tensor of an earlier run with the same contents, or a new one.

        `run` reads every input back, and forgets the tensors that are kept when a build has written to one.
        """
        if array.nbytes < _SMALL:
            return self.upload(array, dtype)
        bits = to_bits(array)
        about = f"{name_of(array)} {dtype} {array.shape}".encode()
        digest = hashlib.blake2b(bits.reshape(-1).data, digest_size=16, key=about[:64]).digest()
        if digest in self._inputs:
            self._inputs.move_to_end(digest)
            return self._inputs[digest][1]
        tensor = self.upload(array, dtype)
        self._inputs[digest] = (array.nbytes, tensor)
        self._input_bytes += array.nbytes
        while self._input_bytes > _KEPT:
            _, (gone, _) = self._inputs.popitem(last=False)
            self._input_bytes -= gone
        return tensor

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer | None:
        """See `base.Reproducible`. It is the one that the platform writes on this machine; None for tvm-opencl."""
        local: Platform = load(location(self.name))
        # OpenCL's is made from the device's own kernels, which a platform that was never activated does not have.
        return None if self.name == "tvm-opencl" else reproducer_of(local, spec, sizes, layouts, careful=careful)

    def _asked(self, function: str) -> str | None:
        """The answer of a function there; None where the server has no function of that name."""
        try:
            found = self._session.get_function(function)
        except AttributeError:
            return None
        return str(found())

    def _meant(self, error: Exception) -> Exception:
        """The error from over there itself, or `MachineUnreachable` when nobody is left to have raised it."""
        try:
            self._session.get_function("tvm.rpc.server.upload")
        except Exception:
            said = str(error).strip().splitlines() or [type(error).__name__]
            return MachineUnreachable(f"lost the connection to its server: {said[-1][:200]}")
        if type(error).__name__ == "RPCError":
            return Relayed(f"RPCError: {' '.join(str(error).split())[:2000]}")
        return error
