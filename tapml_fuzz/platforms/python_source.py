"""Python source for reproducers: an operator's call, texts and arrays spelled out.

Whatever a name or a text holds, what comes out is valid Python that means that name or text and nothing else.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Sequence

from tapml_fuzz.core.dtypes import Array, is_float, name_of, to_bits
from tapml_fuzz.core.operator import DType, Float, Operator, Product, Slot, Template

_PLAIN_FLOATS = ("inf", "-inf", "nan")


def attribute(owner: str, name: str) -> str:
    """The expression `owner.name`, or `getattr` where the name is no Python name (aten has overloads called `from`)."""
    if name.isascii() and name.isidentifier() and not keyword.iskeyword(name):
        return f"{owner}.{name}"
    return f"getattr({owner}, {name!r})"


def function(name: str) -> str:
    """The torch function behind an operator's name: `torch.ops.aten.addmm.default`."""
    text = "torch.ops"
    for part in name.split("."):
        text = attribute(text, part)
    return text


def arguments(
    operator: Operator,
    size: Callable[[Product], str],
    tensor: Callable[[int], str],
    dtype: Callable[[str], str] = lambda name: attribute("torch", name),
    dtypes: Sequence[str] | None = None,
) -> str:
    """The operator's argument list; a size, a tensor slot and a dtype are spelled as the callers' functions say.

    `dtypes` are those of the tensors, where they are not the ones observed.
    """
    names = operator.dtypes if dtypes is None else dtypes
    floating = next((slot for slot, name in enumerate(names) if is_float(name)), None)

    def show(template: Template) -> str:
        match template:
            case Slot(index):
                return tensor(index)
            case Product():
                return size(template)
            case DType("input"):
                return dtype("float32") if floating is None else f"{tensor(floating)}.dtype"
            case DType(name):
                return dtype(name)
            case Float(text):
                return f'float("{text}")' if text in _PLAIN_FLOATS else f"float({text!r})"
            case list() | tuple():
                return f"[{', '.join(show(item) for item in template)}]"
            case _:
                return repr(template)

    shown = [show(a) for a in operator.args]
    for key, value in operator.kwargs.items():
        usual = key.isascii() and key.isidentifier() and not keyword.iskeyword(key)
        shown.append(f"{key}={show(value)}" if usual else f"**{{{key!r}: {show(value)}}}")
    return ", ".join(shown)


def results(operator: Operator) -> list[str]:
    """Lines that make `results`, a list of the outputs in use, from `result`, what the operator returned."""
    lines = ["results = list(result) if isinstance(result, (tuple, list)) else [result]"]
    if operator.outputs:
        lines.append(f"results = [results[number] for number in {list(operator.outputs)}]  # those that are used")
    return lines


def parameters(count: int) -> str:
    """The parameter list `x0, x1, x2` of `count` tensors."""
    return ", ".join(f"x{slot}" for slot in range(count))


def text_block(text: str) -> str:
    """A string expression for a long text: raw and readable where Python can hold it so, else escaped per line."""
    block = f'r"""\n{text.rstrip()}\n"""'
    if re.search(r'"""|[^\t\n\x20-\x7e]', text) is None:
        return block
    lines = "\n".join(f"    {line!r}" for line in ("\n" + text).splitlines(keepends=True))
    return f"(\n{lines}\n)"


def array(values: Array) -> str:
    """A flat numpy array with the same bytes (bfloat16 by its bits)."""
    flat = to_bits(values).reshape(-1) if name_of(values) == "bfloat16" else values.reshape(-1)
    return f"np.array({flat.tolist()!r}, dtype=np.{'bool_' if flat.dtype == bool else flat.dtype})"


def bound_name(statement: str) -> str:
    """The first name that an import statement binds; `""` for text that is no import."""
    try:
        parsed = ast.parse(statement).body[0]
    except (SyntaxError, IndexError):
        return ""
    if not isinstance(parsed, ast.Import | ast.ImportFrom):
        return ""
    alias = parsed.names[0]
    return alias.asname or alias.name.partition(".")[0]
