"""The torch platforms' part of a reproducer: the operator's call, on the device."""

from __future__ import annotations

from collections.abc import Mapping

from tapml_fuzz.platforms.base import Script, Unit
from tapml_fuzz.platforms.spelling import arguments, function, parameters, results

_PLACED = """\
def placed(tensor):
    there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")
    return there.copy_(tensor)


"""


def torch_script(unit: Unit, sizes: Mapping[str, int], device: str) -> Script:
    """`compute` for `"cpu"` or `"cuda"`; strides are kept on the device."""
    operator, count = unit.operator, len(unit.operator.axes)
    shown = arguments(operator, lambda size: str(size.value(sizes)), "x{}".format, dtypes=unit.dtypes)
    lines = ["    torch.set_num_threads(1)"]
    if device == "cuda":
        lines += [
            "    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
            '    print("device:", torch.cuda.get_device_name(0))',
            *(f"    x{slot} = placed(x{slot})" for slot in range(count)),
        ]
    lines += [
        "    with torch.no_grad():",
        f"        result = {function(operator.name)}({shown})",
        *(f"    {line}" for line in results(operator)),
        "    return [tensor.cpu() for tensor in results]" if device == "cuda" else "    return results",
    ]
    body = "\n".join([f"def compute({parameters(count)}):", *lines])
    return Script((), (_PLACED if device == "cuda" else "") + body + "\n")
