"""The torch platforms' part of a reproducer: the call of an operator or of a user's callable, on the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tapml_fuzz.core.operator import Operator
from tapml_fuzz.platforms.base import BuildSpec, Reproducer
from tapml_fuzz.platforms.python_source import arguments, function, parameters, results

# What torch may do faster and less exactly on CUDA: factors of 10 bits, and sums of halves (split-K) in halves. The
# second is on by default. https://docs.pytorch.org/docs/stable/notes/cuda.html
EXACT_PRODUCTS = (
    "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False",
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False",
)

_PLACED = """\
def placed(tensor):
    there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return there.copy_(tensor)


"""

_FROM_FILE = """\
PATH = Path({path!r})  # from the folder in which it was found
sys.path.insert(0, str(PATH.resolve().parent))
specification = importlib.util.spec_from_file_location("candidate", PATH)
candidate = sys.modules["candidate"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(candidate)


"""


def torch_reproducer(spec: BuildSpec, sizes: Mapping[str, int], device: str) -> Reproducer:
    """`compute` that makes the operator's call on `device`, `"cpu"` or `"cuda"`, inputs with their strides."""
    operator = spec.operator
    shown = arguments(operator, lambda size: str(size.value(sizes)), "x{}".format, dtypes=spec.dtypes)
    return Reproducer((), _called(f"{function(operator.name)}({shown})", operator, device))


def callable_reproducer(module: str, path: Path | None, call: str, operator: Operator, device: str) -> Reproducer:
    """`compute` for a callable of a user's: `call` on `candidate`, which is the module, or else the file `path`."""
    if path is None:
        return Reproducer(
            ("import importlib",),
            f"candidate = importlib.import_module({module!r})\n\n\n" + _called(call, operator, device),
        )
    return Reproducer(
        ("import importlib.util", "import sys", "from pathlib import Path"),
        _FROM_FILE.format(path=str(path)) + _called(call, operator, device),
    )


def _called(call: str, operator: Operator, device: str) -> str:
    """`def compute(...)`, and what it needs."""
    count = len(operator.axes)
    lines = ["    torch.set_num_threads(1)"]
    if device == "cuda":
        lines += [
            *(f"    {switch}" for switch in EXACT_PRODUCTS),
            '    print("device:", torch.cuda.get_device_name(0))',
            *(f"    x{slot} = placed(x{slot})" for slot in range(count)),
        ]
    lines += [
        "    with torch.no_grad():",
        f"        result = {call}",
        *(f"    {line}" for line in results(operator)),
        "    return [tensor.cpu() for tensor in results]" if device == "cuda" else "    return results",
    ]
    body = "\n".join([f"def compute({parameters(count)}):", *lines])
    return (_PLACED if device == "cuda" else "") + body + "\n"
