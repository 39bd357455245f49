"""Reproducers: a standalone script, and a pytest file that calls tapml_fuzz."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, is_float
from tapml_fuzz.core.operator import encode_operator
from tapml_fuzz.core.verdict import Kind
from tapml_fuzz.operators.invoke import resolve, to_torch
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.platforms.python_source import attribute, bound_name, function, parameters, results
from tapml_fuzz.reporting.literals import as_layout, call_arguments, tensor_literal
from tapml_fuzz.reporting.verdict_source import RAISING, ending_source
from tapml_fuzz.storage.findings import Evidence, FindingRecord

_IMPORTS = ("import sys", "import numpy as np", "import torch", "from torch import inf, nan  # noqa: F401")
_ENDINGS = {
    "crash": "Running this crashes the process: that is what was found.",
    "timeout": "Running this does not end (in reasonable time): that is what was found.",
    "unwritten": "Some elements of the output are never written: they hold whatever the memory held (NaN, where the\n"
    "script could fill it before).",
}

_SHOW = """

def values(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def show(label, tensor):
    print(f"{label}: {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}")
    print(np.array2string(values(tensor), floatmode="unique"), flush=True)


"""


def inputs_source(case: Case) -> str:
    """Assignments `x0 = torch.tensor(...)`, one per tensor argument."""
    lines = []
    for slot, (tensor, layout) in enumerate(zip(case.tensors, case.layouts, strict=True)):
        lines.append(f"x{slot} = {tensor_literal(tensor)}")
        laid_out = as_layout(f"x{slot}", layout)
        if laid_out and tensor.ndim:
            lines.append(f"x{slot} = {laid_out}  # {layout}, as it failed")
    return "\n".join(lines)


def expected_source(case: Case, expected: Sequence[Array]) -> str:
    """Source that computes the operator in float64 on exactly these inputs, as `expected` (a list of tensors).

    Where torch has no such call (a user's callable, an overload that refuses float64), it holds the values computed.
    """
    if not _runs_in_float64(case):
        literals = "".join(f"    {tensor_literal(value)},\n" for value in expected)
        return f"expected = [  # in float64, as computed\n{literals}]\n"
    arguments = call_arguments(case, "wide(x{})", lambda name: "torch.float64" if is_float(name) else _dtype(name))
    return (
        "def wide(tensor):\n"
        "    return tensor.double() if tensor.is_floating_point() else tensor\n\n\n"
        f"result = {function(case.operator.name)}({arguments})\n"
        + "".join(f"{line}\n" for line in results(case.operator))
        + "expected = results\n"
    )


def standalone_reproducer(record: FindingRecord, evidence: Evidence, reproducer: Reproducer) -> str:
    """A script that needs torch, numpy and the platform's own packages only.

    It prints expected, versions and actual, in this order, so that a crash comes last, then the ratio to the error
    bound, and exits with 1 while the fault is there, with 0 when it is gone. An error that was found (of the compiler,
    the driver or the run) is printed as what actually happened.
    """
    case = evidence.case
    given = parameters(len(case.tensors))
    packages = ", ".join(f"{name} {version}" for name, version in record.versions.items()) or "unknown versions"
    imports = sorted(
        {
            "import sys",
            "import numpy as np",
            "import torch",
            "from torch import inf, nan  # noqa: F401",
            *reproducer.imports,
        },
        key=lambda line: (line.startswith("from"), line),
    )
    modules = [bound_name(line) for line in imports if line.startswith("import ")]
    versioned = ", ".join(name for name in modules if name not in sys.stdlib_module_names)
    return (
        f'"""{_plain(record.operator)}\n\n'
        f"{_plain(record.platform)}: {_plain(record.kind)} ({_plain(record.realism)} input). {_plain(record.message)}\n"
        f"Found with {_plain(packages)}.\n"
        + (f"\n{_ENDINGS[record.kind]}\n" if record.kind in _ENDINGS else "")
        + '"""\n\n'
        + "\n".join(imports)
        + "\n\n"
        + inputs_source(case)
        + "\n\n\n"
        + expected_source(case, evidence.expected)
        + _SHOW
        + 'for number, tensor in enumerate(expected):\n    show(f"expected {number}", tensor)\n'
        + f"for module in ({versioned}):\n"
        + '    print(module.__name__, getattr(module, "__version__", ""), flush=True)\n\n\n'
        + reproducer.source.rstrip()
        + "\n\n\n"
        + _actual_source(record.kind, given)
        + 'for number, tensor in enumerate(actual):\n    show(f"actual {number}", tensor)\n'
        + ending_source(record.kind, record.ratio, evidence)
    )


def _actual_source(kind: Kind, given: str) -> str:
    """Source that makes `actual`, and looks at whatever else the kind of the finding asks for."""
    if kind not in RAISING:
        twice = 'again = compute({0})\nfor number, tensor in enumerate(again):\n    show(f"again {{number}}", tensor)\n'
        return f"actual = compute({given})\n" + (twice.format(given) if kind == "nondeterministic" else "")
    return (
        f"inputs = [{given}]\n"
        "kept = [tensor.clone() for tensor in inputs]\n"
        "failed = changed = False\n"
        "try:\n"
        "    actual = compute(*inputs)\n"
        "except Exception as error:\n"
        "    actual, failed = [], True\n"
        '    print(f"actual: {type(error).__name__}: {error}")\n'
        "for number, (tensor, before) in enumerate(zip(inputs, kept)):\n"
        "    if not np.array_equal(values(tensor), values(before), equal_nan=True):\n"
        "        changed = True\n"
        '        show(f"input {number} was changed to", tensor)\n'
        "memory = {tensor.untyped_storage().data_ptr() for tensor in inputs if tensor.numel()}\n"
        "shared = any(tensor.numel() and tensor.untyped_storage().data_ptr() in memory for tensor in actual)\n"
        "if shared:\n"
        '    print("an output shares memory with an input")\n'
    )


def _runs_in_float64(case: Case) -> bool:
    if not case.operator.name.startswith("aten."):
        return False
    tensors = [to_torch(t.copy()) for t in case.tensors]
    wide = [t.double() if t.is_floating_point() else t for t in tensors]
    floating = next((t.dtype for t in wide if t.is_floating_point()), torch.float32)
    try:
        args, kwargs = case.operator.bind(
            wide, case.sizes, dtype_of=lambda n: floating if n == "input" else _wide_dtype(n)
        )
        resolve(case.operator.name)(*args, **kwargs)
    except Exception:
        return False
    return True


def _wide_dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, "float64" if is_float(name) else name)
    return dtype


def _dtype(name: str) -> str:
    return attribute("torch", name)


def pytest_file(record: FindingRecord, evidence: Evidence) -> str:
    """A test that fails for as long as the platform computes the case wrongly. It needs nothing but tapml_fuzz."""
    case = evidence.case
    name = "".join(c if c.isalnum() else "_" for c in record.id)
    layouts = f"        layouts={list(case.layouts)!r},\n" if set(case.layouts) != {"contiguous"} else ""
    tensors = "\n".join(f"            {tensor_literal(t)}," for t in case.tensors)
    return (
        f'"""{_plain(record.operator)}\n\n{_plain(record.platform)}: {_plain(record.kind)} '
        f'({_plain(record.realism)} input).\n"""\n\n'
        "import torch\nfrom torch import inf, nan  # noqa: F401\n\nimport tapml_fuzz\n\n"
        f"OPERATOR = {encode_operator(case.operator).decode()!r}\n\n\n"
        f"def test_{name}():\n"
        "    verdict = tapml_fuzz.replay(\n"
        f"        {record.platform!r},\n"
        "        OPERATOR,\n"
        f"        sizes={dict(case.sizes)!r},\n"
        f"        inputs=[\n{tensors}\n        ],\n"
        f"{layouts}"
        f"        reference={record.reference!r},\n"
        "    )\n"
        "    assert not verdict.failed, verdict.message\n"
    )


def callable_reproducer(
    evidence: Evidence,
    kind: Kind,
    ratio: float | None,
    candidate: Callable[..., Any],
    arrays: str,
    positional: bool,
) -> str:
    """A standalone script for a finding of `check`, which ends as `standalone_reproducer` does.

    `arrays` is `"torch"` or `"numpy"`, and `positional` as for `CallBinder`.
    """
    case = evidence.case
    convert = ".numpy()" if arrays == "numpy" else ""
    arguments = call_arguments(case, "x{}" + convert)
    if not positional:
        arguments = ", ".join(f"x{i}{convert}" for i in range(len(case.tensors)))
    given = parameters(len(case.tensors))
    return (
        "\n".join(_IMPORTS)
        + "\n"
        + _candidate_source(candidate)
        + "\n"
        + inputs_source(case)
        + "\n\n\n"
        + expected_source(case, evidence.expected)
        + _SHOW
        + f"def compute({given}):\n"
        + f"    result = candidate({arguments})\n"
        + "    results = list(result) if isinstance(result, (tuple, list)) else [result]\n"
        + "    return [torch.as_tensor(tensor) for tensor in results]\n\n\n"
        + 'for number, tensor in enumerate(expected):\n    show(f"expected {number}", tensor)\n'
        + 'print("torch", torch.__version__)\n'
        + _actual_source(kind, given)
        + 'for number, tensor in enumerate(actual):\n    show(f"actual {number}", tensor)\n'
        + ending_source(kind, ratio, evidence)
    )


def _candidate_source(candidate: Callable[..., Any]) -> str:
    module, name = getattr(candidate, "__module__", ""), getattr(candidate, "__qualname__", "")
    if module and name and "<" not in name and module != "__main__":
        head, *rest = name.split(".")
        return f"from {module} import {head}\n\ncandidate = {'.'.join([head, *rest])}\n"
    try:
        place = f"{inspect.getsourcefile(candidate)}:{inspect.getsourcelines(candidate)[1]}"
    except (OSError, TypeError):
        place = "an interactive session"
    return f"\n# The candidate was defined in {place}: import or paste it here.\nfrom candidate import candidate\n"


def _plain(text: str) -> str:
    """The text without anything that could end a docstring, or that Python's source or UTF-8 cannot hold."""
    shown = "".join(c if c == "\n" or c.isprintable() else "?" for c in text)
    return shown.replace("\\", "/").replace('"""', "'''")
