"""The ending of a standalone script: the outputs' distance from the bound, and whether the fault is still there."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch

from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.verdict import COMPARED, Kind
from tapml_fuzz.operators.invoke import to_torch
from tapml_fuzz.reporting import error_ratio as distance
from tapml_fuzz.reporting.literals import tensor_literal
from tapml_fuzz.storage.findings import Evidence

_SAID = """\
if fault:
    print("the fault is still there", flush=True)
    sys.exit(1)
print("the fault is gone")
"""
_PERMITTED = 'print("what is outside the bound is permitted by the platform\'s specification: no fault")\n'

# Kinds that follow from the error of the run, or from what the run did to its inputs, and their tests.
RAISING: dict[Kind, str] = {
    "build-error": "fault = failed\n",
    "run-error": "fault = failed or changed or shared\n",
}
_REPEATS = "fault = worst > 1 or not alike(actual, again)\n"
# What a compiler crashes or hangs on is shown by a script that has no outputs.
_ENDS = "fault = bool(actual) and worst > 1\n"

_ALIKE = """

def alike(ones, others):
    return len(ones) == len(others) and all(
        one.shape == two.shape and np.array_equal(values(one), values(two), equal_nan=one.is_floating_point())
        for one, two in zip(ones, others)
    )


"""


def ending_source(kind: Kind, ratio: float | None, evidence: Evidence) -> str:
    """The last lines of a script in which `expected` and `actual` are lists of tensors; it exits with 1 on a fault.

    `ratio` is the one of the finding. A script without bounds to compare with only shows.
    """
    if kind in RAISING:
        return RAISING[kind] + _SAID
    if not evidence.bounds:
        return ""
    stored = "" if ratio is None else f", {ratio:.3g} when it was found"
    shown = (
        "\n\n"
        + inspect.getsource(distance.ratio)
        + "\n\n# The error that each output may have, element by element; None: it must be exact.\n"
        + f"bounds = {_listed(evidence.bounds)}\n"
        + "ratios = [ratio(*each) for each in zip(actual, expected, bounds)]\n"
        + "worst = max(ratios, default=0.0) if len(actual) == len(expected) else inf\n"
        + f'print(f"ratio to the error bound: {{worst:.3g}}{stored}")\n'
    )
    return shown + (_PERMITTED if kind == "permitted" else _test(kind, evidence) + _SAID)


def _test(kind: Kind, evidence: Evidence) -> str:
    """Lines that set `fault`."""
    if kind in ("crash", "timeout"):
        return _ENDS
    if kind == "nondeterministic":
        return _ALIKE + _REPEATS
    if kind == "dtype":
        names = [name_of(array) for array in evidence.actual]
        return f"fault = [str(tensor.dtype).removeprefix('torch.') for tensor in actual] == {names!r}\n"
    if kind in COMPARED and not _shows(evidence):
        # Indices, which are judged by what they select: only that they are what was found can be seen here.
        return f"{_ALIKE}found = {_listed(evidence.actual)}\nfault = worst > 1 or alike(actual, found)\n"
    return "fault = worst > 1\n"


def _shows(evidence: Evidence) -> bool:
    """Whether the distance from the expected outputs tells that the outputs found are wrong."""
    outputs = zip(evidence.actual, evidence.expected, evidence.bounds, strict=False)
    return len(evidence.actual) != len(evidence.expected) or any(
        distance.ratio(to_torch(actual), to_torch(expected), None if bound is None else torch.from_numpy(bound)) > 1
        for actual, expected, bound in outputs
    )


def _listed(arrays: Sequence[Array | None]) -> str:
    """A list of tensors, one a line."""
    items = "".join(f"    {'None' if array is None else tensor_literal(array)},\n" for array in arrays)
    return f"[\n{items}]"
