"""TVM on its own runtime: this machine's processor, and devices that most wheels lack (Metal, ROCm, Vulkan).

Those that need a compiler besides TVM's are in `tvm.c` and `tvm.cuda`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapml_fuzz.core.case import Layout
from tapml_fuzz.platforms.base import BuildSpec, Info, Reproducer
from tapml_fuzz.platforms.poison import perturb_fresh_memory
from tapml_fuzz.platforms.tvm.reproducers import cpu_reproducer, device_reproducer
from tapml_fuzz.platforms.tvm.runtime import TvmRuntime
from tapml_fuzz.platforms.tvm.targets import TARGETS, begin


class TvmLlvm(TvmRuntime):
    """Apache TVM, target `llvm`."""

    name = "tvm-llvm"
    row = TARGETS["tvm-llvm"]

    def activate(self) -> Info:
        """See `base.Platform.activate`; fresh memory of the process is perturbed from here on."""
        tvm, self.device = begin(self.row)
        perturb_fresh_memory()
        self.target = tvm.target.Target(self.row.options())
        return self.described(tvm, str(tvm.get_global_func("target.llvm_get_system_cpu")()))

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of Relax's virtual machine, better known to TVM's developers than tensor programs."""
        return cpu_reproducer(spec, sizes, layouts)


class TvmDevice(TvmRuntime):
    """Apache TVM on a device of this machine, where TVM was built with its runtime and code generator."""

    def activate(self) -> Info:
        """See `base.Platform.activate`; the target is that of the first device, as TVM describes it."""
        tvm, self.device = begin(self.row)
        found = tvm.target.Target.from_device(self.device)
        self.target = tvm.target.Target(found, tvm.target.Target("llvm"))
        return self.described(tvm, str(self.device.device_name))

    def prepare(self) -> None:
        """Set the target as for a device that is not here: source is generated, nothing can be run."""
        import tvm

        self.target = tvm.target.Target(self.row.options())

    def reproducer(
        self, spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], *, careful: bool = False
    ) -> Reproducer:
        """The operator by way of Relax's virtual machine on the device."""
        return device_reproducer(spec, sizes, layouts, self.row.device)


class TvmMetal(TvmDevice):
    """Apache TVM, target `metal`."""

    name = "tvm-metal"
    row = TARGETS["tvm-metal"]


class TvmRocm(TvmDevice):
    """Apache TVM, target `rocm`."""

    name = "tvm-rocm"
    row = TARGETS["tvm-rocm"]


class TvmVulkan(TvmDevice):
    """Apache TVM, target `vulkan`."""

    name = "tvm-vulkan"
    row = TARGETS["tvm-vulkan"]
