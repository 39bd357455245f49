"""torch in eager mode, on the CPU and on CUDA: the reference platforms, which the emerging ones are held against."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapml_fuzz.core.case import Layout, as_laid_out
from tapml_fuzz.core.dtypes import NAMES, Array, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.policy import Capabilities, Policy
from tapml_fuzz.platforms.base import BuildRejected, BuildSpec, DeviceLost, Info, Reproducer, Unavailable
from tapml_fuzz.platforms.device_tensors import on_device
from tapml_fuzz.platforms.torch.reproducers import torch_reproducer


class _TorchEager:
    """Runs `operators.invoke.call` as it is; a build is the operator itself."""

    name: str
    device: str

    def build(self, spec: BuildSpec) -> Any:
        """See `base.Platform.build`. Raises `BuildRejected` for a name unknown to torch; nothing is compiled."""
        from tapml_fuzz.core.errors import UnknownOperator
        from tapml_fuzz.operators.invoke import resolve

        try:
            resolve(spec.operator.name)
        except UnknownOperator as error:
            raise BuildRejected(str(error)) from error
        return spec.operator

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        """Run with real strided tensors; an input written in place shows in `mutated`, a view in `aliased`.

        Raises `DeviceLost` for an error of CUDA, which every later call would report again.
        """
        import torch

        from tapml_fuzz.operators.invoke import to_numpy

        held = [self._placed(as_laid_out(t, how), how) for t, how in zip(tensors, layouts, strict=True)]
        started = time.perf_counter()
        try:
            with torch.no_grad():
                results = self.results(build, held, sizes)
            self._wait()
        except RuntimeError as error:
            if self.device == "cuda" and "CUDA" in str(error):
                raise DeviceLost(str(error)) from error
            raise
        seconds = time.perf_counter() - started
        memory = {t.untyped_storage().data_ptr() for t in held if t.numel()}
        aliased = tuple(i for i, r in enumerate(results) if r.numel() and r.untyped_storage().data_ptr() in memory)
        mutated = tuple(
            slot for slot, (before, after) in enumerate(zip(tensors, held, strict=True))
            if not np.array_equal(to_bits(before), to_bits(to_numpy(after)))
        )  # fmt: skip
        # A copy, since an output may be a view of an input that the caller's buffer holds.
        outputs = tuple(to_numpy(result).copy() for result in results)
        return Ok(outputs, seconds, (0,) * len(outputs), mutated, aliased)

    def results(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
        """The outputs that are used, as tensors of torch; does not wait for the device."""
        from tapml_fuzz.operators.invoke import call

        return call(build, tensors, sizes)

    def place(self, array: Array) -> Any:
        """See `device_tensors.Resident.place`; on the CPU the tensor is over the array's own memory."""
        import warnings

        from tapml_fuzz.operators.invoke import to_torch

        if array.flags.writeable:
            return to_torch(array).to(self.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes
            return to_torch(array).to(self.device)

    def adopt(self, tensor: Any) -> Any | None:
        """See `device_tensors.Resident.adopt`; on the CPU it takes numpy arrays too."""
        import torch

        kind = 1 if self.device == "cpu" else 2
        if isinstance(tensor, np.ndarray):
            return self.place(tensor) if self.device == "cpu" else None
        if not on_device(tensor, kind, 0):
            return None
        # The capsule, not the tensor: whoever made it is done, so no stream has to be asked about.
        return torch.utils.dlpack.from_dlpack(tensor.__dlpack__())

    def compute(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        """See `device_tensors.Resident.compute`; an output may be a view of an input."""
        import torch

        with torch.no_grad():
            results = self.results(build, [t.contiguous() for t in tensors] if self.packs(build) else tensors, sizes)
        self._wait()
        return list(results)

    def packs(self, build: Any) -> bool:
        """Whether a build needs packed inputs: operators keep no memory format, and eagerly only views ask for one."""
        return bool(build.name == "aten.view.default")

    def fetch(self, tensor: Any) -> Array:
        """See `device_tensors.Resident.fetch`."""
        from tapml_fuzz.operators.invoke import to_numpy

        return to_numpy(tensor)

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator's call on the device, with the case's strides."""
        return torch_reproducer(spec, sizes, self.device)

    def _placed(self, array: Array, layout: Layout) -> Any:
        """A tensor on the device with `array`'s values and strides, in memory of its own."""
        import torch

        from tapml_fuzz.operators.invoke import to_torch

        tensor = to_torch(array)
        if self.device != "cpu":
            moved = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self.device)
            return moved.copy_(tensor)
        # `as_laid_out` hands back the caller's own memory when nothing has to change.
        return tensor.clone() if layout == "contiguous" else tensor

    def _wait(self) -> None:
        return None


class TorchCpu(_TorchEager):
    """torch on the CPU, one thread."""

    name = "torch-cpu"
    device = "cpu"

    def activate(self) -> Info:
        """See `base.Platform.activate`; torch has one thread from here on."""
        try:
            import torch
        except (ImportError, OSError) as error:
            raise Unavailable(f"torch cannot be imported: {error}", "pip install torch") from error
        torch.set_num_threads(1)
        return Info(
            self.name,
            True,
            device=str(torch.backends.cpu.get_cpu_capability()),
            versions={"torch": str(torch.__version__)},
            capabilities=Capabilities(dtypes=NAMES, strided=True, symbolic=True),
            policy=Policy(accuracy="ieee", source="torch CPU kernels; denormals are kept by default"),
            eager=True,
        )


class TorchCuda(_TorchEager):
    """torch on the first CUDA device, without TF32 and without reductions in half precision."""

    name = "torch-cuda"
    device = "cuda"

    def activate(self) -> Info:
        """See `base.Platform.activate`; from here on torch uses no TF32 and sums no products of halves in halves."""
        hint = "an NVIDIA GPU with its driver, and a CUDA build of torch (see pytorch.org)"
        try:
            import torch

            if not torch.cuda.is_available():
                why = "no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
                raise Unavailable(why, hint)
            torch.zeros(1, device="cuda")
        except (ImportError, OSError, RuntimeError) as error:
            raise Unavailable(f"torch cannot use CUDA: {error}", hint) from error
        torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        # On by default: partial sums of halves are then rounded to halves (split-K).
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        return Info(
            self.name,
            True,
            device=torch.cuda.get_device_name(0),
            versions={"torch": str(torch.__version__), "cuda": str(torch.version.cuda)},
            capabilities=Capabilities(dtypes=NAMES, strided=True, symbolic=True),
            policy=Policy(accuracy="ieee", source="CUDA C Programming Guide, mathematical functions; products exact"),
            eager=True,
        )

    def _wait(self) -> None:
        import torch

        torch.cuda.synchronize()
