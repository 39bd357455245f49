"""The torch.compile platforms' part of a reproducer: the call, compiled with those axes open that our build opens."""

from __future__ import annotations

import math

from tapml_fuzz.core.operator import Product
from tapml_fuzz.operators.export import carriers
from tapml_fuzz.platforms.base import BuildSpec, Reproducer
from tapml_fuzz.platforms.python_source import arguments, attribute, function, parameters, results
from tapml_fuzz.platforms.torch.reproducers import EXACT_PRODUCTS

# Sizes to compile with, as in `torch_inductor`.
_EXAMPLES = (11, 13, 17, 19, 23, 29, 31, 37)
_EXAMPLES_FIRST = [
    "        # Sizes of 0 and 1 are like any other here, so that one build serves every size.",
    "        with torch.fx.experimental._config.patch(backed_size_oblivious=True):",
    "            compiled(*examples)",
]


def inductor_reproducer(spec: BuildSpec, device: str) -> Reproducer:
    """`compute` for `"cpu"` or `"cuda"`: compiled on examples with the open axes dynamic, then called."""
    operator, count = spec.operator, len(spec.operator.axes)
    opened = [name for name in operator.axis_names if name not in spec.sizes]
    places = carriers(operator)

    def size(product: Product) -> str:
        factor = math.prod((spec.sizes[name] for name in product.axes if name in spec.sizes), start=product.constant)
        read = [f"x{places[name][0]}.shape[{places[name][1]}]" for name in product.axes if name not in spec.sizes]
        return " * ".join(([] if factor == 1 and read else [str(factor)]) + read)

    shown = arguments(operator, size, "x{}".format, dtypes=spec.dtypes)
    examples = operator.shapes({**dict(zip(opened, _EXAMPLES, strict=False)), **spec.sizes})
    indices = {index.slot for index in operator.indexes}
    on = ', device="cuda"' if device == "cuda" else ""
    lines = [
        f"def operator({parameters(count)}):",
        f"    return {function(operator.name)}({shown})",
        "",
        "",
        f"def compute({parameters(count)}):",
        "    torch.set_num_threads(1)",
    ]
    if device == "cuda":
        lines += [
            *(f"    {switch}" for switch in EXACT_PRODUCTS),
            '    print("device:", torch.cuda.get_device_name(0))',
        ]
    lines.append("    compiled, examples = torch.compile(operator), []")
    for slot, (shape, dtype) in enumerate(zip(examples, spec.dtypes, strict=True)):
        make = "zeros" if slot in indices else "ones"
        lines.append(f"    examples.append(torch.{make}({shape!r}, dtype={attribute('torch', dtype)}{on}))")
        lines += [
            f"    maybe_mark_dynamic(examples[-1], {axis})"
            for axis, product in enumerate(operator.axes[slot])
            if any(name in opened for name in product.axes)
        ]
    given = "".join(f"x{slot}.contiguous(){'.cuda()' if on else ''}, " for slot in range(count)).removesuffix(", ")
    lines += [
        "    with torch.no_grad():",
        *(_EXAMPLES_FIRST if opened else []),
        f"        result = compiled({given})",
        *(f"    {line}" for line in results(operator)),
        "    return [tensor.cpu() for tensor in results]" if on else "    return results",
        "",
    ]
    imports = ("import torch.fx.experimental._config", "from torch._dynamo.decorators import maybe_mark_dynamic")
    return Reproducer(imports, "\n".join(lines))
