"""Reproducers: a standalone script, and a pytest file that calls tapml_fuzz."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.operator import encode_operator
from tapml_fuzz.reporting.literals import as_layout, call_arguments, tensor_literal
from tapml_fuzz.storage.findings import Evidence, FindingRecord

_SHOW = """

def show(label, tensor):
    print(f"{label}: {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}")
    print(tensor)

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


def expected_source(case: Case) -> str:
    """The operator in float64 on exactly these inputs, as `expected` (a list of tensors)."""
    return (
        "def wide(tensor):\n"
        "    return tensor.double() if tensor.is_floating_point() else tensor\n\n\n"
        f"result = torch.ops.{case.operator.name}({call_arguments(case, 'wide(x{})')})\n"
        "expected = list(result) if isinstance(result, (tuple, list)) else [result]\n"
        + (f"expected = [expected[i] for i in {list(case.operator.outputs)}]  # those in use\n" * bool(case.operator.outputs))
    )


def standalone_script(record: FindingRecord, evidence: Evidence, actual_source: str, imports: Sequence[str]) -> str:
    """A script that needs torch, numpy and the platform's own packages only.

    `actual_source` defines `actual`, a list of torch tensors, from `x0`, `x1`, ...; `imports` are the lines it needs.
    """
    case = evidence.case
    packages = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f'"""{_plain(record.operator)}\n\n'
        f"{record.platform}: {record.kind} ({record.realism} input). {_plain(record.message)}\n"
        f"Found with {packages}.\n"
        '"""\n\n'
        + "\n".join(sorted({"import torch", *imports}))
        + "\n\nfrom torch import inf, nan\n\n"
        + inputs_source(case)
        + "\n\n\n"
        + expected_source(case)
        + _SHOW
        + actual_source
        + "\n\nfor number, tensor in enumerate(expected):\n"
        '    show(f"expected {number}", tensor)\n'
        "for number, tensor in enumerate(actual):\n"
        '    show(f"actual {number}", tensor)\n'
        'print("versions:", {m.__name__: getattr(m, "__version__", "") for m in ('
        + ", ".join(sorted({"torch", *(i.split()[1].split(".")[0] for i in imports if i.startswith("import "))}))
        + ",)})\n"
    )


def pytest_file(record: FindingRecord, evidence: Evidence) -> str:
    """A test that fails for as long as the platform computes the case wrongly. It needs nothing but tapml_fuzz."""
    case = evidence.case
    name = "".join(c if c.isalnum() else "_" for c in record.id)
    layouts = f"        layouts={list(case.layouts)!r},\n" if set(case.layouts) != {"contiguous"} else ""
    tensors = "\n".join(f"            {tensor_literal(t)}," for t in case.tensors)
    return (
        f'"""{_plain(record.operator)}\n\n{record.platform}: {record.kind} ({record.realism} input).\n"""\n\n'
        "import torch\nfrom torch import inf, nan  # noqa: F401\n\nimport tapml_fuzz\n\n"
        f"OPERATOR = {encode_operator(case.operator).decode()!r}\n\n\n"
        f"def test_{name}():\n"
        "    verdict = tapml_fuzz.replay(\n"
        f'        "{record.platform}",\n'
        "        OPERATOR,\n"
        f"        sizes={dict(case.sizes)!r},\n"
        f"        inputs=[\n{tensors}\n        ],\n"
        f"{layouts}"
        "    )\n"
        "    assert not verdict.failed, verdict.message\n"
    )


def callable_script(
    case: Case, expected: Sequence[Array], candidate: Callable[..., Any], arrays: str, positional: bool
) -> str:
    """A standalone script for a finding of `check`."""
    convert = ".numpy()" if arrays == "numpy" else ""
    arguments = call_arguments(case, "x{}" + convert)
    if not positional:
        arguments = ", ".join(f"x{i}{convert}" for i in range(len(case.tensors)))
    reference = expected_source(case)
    if case.operator.name.startswith("python:"):
        reference = "\n".join(
            ["expected = ["] + [f"    {tensor_literal(e)}," for e in expected] + ["]  # float64 truth, as computed", ""]
        )
    return (
        "import torch\nfrom torch import inf, nan\n"
        + _candidate_source(candidate)
        + "\n"
        + inputs_source(case)
        + "\n\n\n"
        + reference
        + _SHOW
        + f"result = candidate({arguments})\n"
        + "actual = list(result) if isinstance(result, (tuple, list)) else [result]\n"
        + "actual = [torch.as_tensor(tensor) for tensor in actual]\n"
        + 'for number, tensor in enumerate(expected):\n    show(f"expected {number}", tensor)\n'
        + 'for number, tensor in enumerate(actual):\n    show(f"actual {number}", tensor)\n'
        + 'print("torch", torch.__version__)\n'
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
    """Text that cannot end a docstring."""
    return text.replace("\\", "/").replace('"""', "'''")
