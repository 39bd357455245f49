"""An operator's way through TVM as source: export from torch, import into Relax, compile, run.

It spells out what `operators.export` and `lowering.lower` do, for one build spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapml_fuzz.core.case import Layout
from tapml_fuzz.platforms.base import BuildSpec, Reproducer
from tapml_fuzz.platforms.exported_program import exported
from tapml_fuzz.platforms.python_source import parameters

_IMPORTS = (
    "import tvm",
    "from torch.export import Dim",
    "from tvm import relax",
    "from tvm.relax.frontend.torch import from_exported_program",
)

_POISON = """\
# glibc (M_PERTURB) then fills fresh memory with 0x7F, a huge number: an element that is never written is seen.
perturb = getattr(ctypes.CDLL(None), "mallopt", None)
if perturb is not None:
    perturb(-6, 0x80)


"""


def cpu_reproducer(spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout]) -> Reproducer:
    """`compute` by way of the Relax virtual machine on the CPU, target `llvm`."""
    return _machine_reproducer(
        spec, sizes, layouts, ['    executable = tvm.compile(module, tvm.target.Target("llvm"))']
    )


def c_reproducer(
    spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], compiler: str, options: Sequence[str]
) -> Reproducer:
    """`compute` by way of the Relax virtual machine on the CPU, target `c` through `compiler` with `options`."""
    lines = [
        '    target = tvm.target.Target("c")',
        "    library = tvm.compile(module, target, relax_pipeline=get_default_pipeline(target))",
        "    with tempfile.TemporaryDirectory() as folder:",
        f'        library.export_library(f"{{folder}}/operator.so", cc={compiler!r}, options={list(options)!r})',
        '        executable = tvm.runtime.load_module(f"{folder}/operator.so")',
    ]
    imports = ("import tempfile", "from tvm.relax.backend.cpu_generic import get_default_pipeline")
    return _machine_reproducer(spec, sizes, layouts, lines, imports)


def cuda_reproducer(spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout]) -> Reproducer:
    """`compute` by way of the Relax virtual machine on the first CUDA device, compiled by what TVM chooses."""
    lines = [
        "    target = tvm.target.Target.from_device(tvm.cuda())",
        '    print("device:", tvm.cuda().device_name)',
        "    with target:",
        "        executable = tvm.compile(module, target)",
    ]
    return _machine_reproducer(spec, sizes, layouts, lines, device="tvm.cuda()")


def device_reproducer(spec: BuildSpec, sizes: Mapping[str, int], layouts: Sequence[Layout], kind: str) -> Reproducer:
    """`compute` by way of the Relax virtual machine on the first device of `kind` (`"metal"`, `"vulkan"`)."""
    device = f"tvm.device({kind!r})"
    lines = [
        f"    target = tvm.target.Target.from_device({device})",
        f'    print("device:", {device}.device_name)',
        "    with target:",
        "        executable = tvm.compile(module, target)",
    ]
    return _machine_reproducer(spec, sizes, layouts, lines, device=device)


def _machine_reproducer(
    spec: BuildSpec,
    sizes: Mapping[str, int],
    layouts: Sequence[Layout],
    compiling: Sequence[str],
    imports: Sequence[str] = (),
    device: str = "tvm.cpu()",
) -> Reproducer:
    """`compute` that makes `executable` from `module` by the lines given and runs it in Relax's virtual machine."""
    there, back = ("", "") if device == "tvm.cpu()" else (f".copyto({device})", ".copyto(tvm.cpu())")
    slots = enumerate(zip(spec.operator.shapes(sizes), spec.dtypes, layouts, strict=True))
    given = ", ".join(f"{_handed(slot, *tensor)}{there}" for slot, tensor in slots)
    lines = [
        f"def compute({parameters(len(layouts))}):",
        "    module = from_exported_program(exported(), run_ep_decomposition=False)",
        *compiling,
        f'    machine = relax.VirtualMachine(executable, {device}, memory_cfg="naive")',
        f'    result = machine["main"]({given})',
        "    results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)",
        f"    return [torch.from_dlpack(tensor{back}).clone() for tensor in results]",
        "",
    ]
    return Reproducer(("import ctypes", *_IMPORTS, *imports), _POISON + exported(spec) + "\n\n" + "\n".join(lines))


def _handed(slot: int, shape: tuple[int, ...], dtype: str, layout: Layout) -> str:
    """The parameter `x<slot>` as a packed tensor of TVM's."""
    if 0 in shape:  # torch strides it otherwise than TVM's functions expect
        return f"tvm.runtime.empty({shape}, {dtype!r})"
    packed = "" if layout == "contiguous" else ".clone(memory_format=torch.contiguous_format)"
    return f"tvm.runtime.from_dlpack(x{slot}{packed})"


def compile_reproducer(spec: BuildSpec, target: Mapping[str, object]) -> Reproducer:
    """`compute` that compiles for `target` (as a dictionary) and runs nothing: for what TVM itself refuses."""
    body = (
        f"def compute({parameters(len(spec.operator.axes))}):\n"
        '    """Compile; there is no kernel to run."""\n'
        "    module = from_exported_program(exported(), run_ep_decomposition=False)\n"
        f"    target = tvm.target.Target({dict(target)!r})\n"
        "    with target:\n"
        "        tvm.compile(module, target)\n"
        "    return []\n"
    )
    imports = tuple(line for line in _IMPORTS if line != "from tvm import relax")
    return Reproducer(imports, exported(spec) + "\n\n" + body)
