"""What can be checked of Metal source without Apple's compiler."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from tapml_fuzz.platforms.tvm.host_program import HostProgram, Kernel
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch

_PAIRS = {")": "(", "]": "[", "}": "{"}
_TYPES = {"int64": "long", "int32": "int", "float32": "float", "bool": "bool", "uint8": "uchar", "int8": "char"}
# C's and CUDA's words for things: the first four are no names in Metal's standard library, the others no types there.
_FOREIGN = re.compile(r"\b(inff|nanf?|erff?|(?:exp|log|pow|tanh|sqrt|fabs|fmax|fmin)f|double|int64_t|__\w+__)\b")
_LITERAL = re.compile(r"(?<![\w.])\d+\.\d+e[+-]\d+f?\b")
_SIGNATURE = re.compile(r"kernel void (\w+)\((.*?)\) \{", re.S)
_LARGEST = float(np.finfo(np.float32).max)
LARGEST_IS_ANOTHER = "the largest float32 is printed as another number"
_MOST_THREADS = 1024  # per threadgroup on every Apple GPU family since 4; Metal feature set tables


def faults(host: HostProgram, launches: Iterable[ReadyLaunch], intended: Iterable[float]) -> list[str]:
    """What is wrong with generated source, its host side's launches and its literals; `intended` are the program's."""
    return [
        *_unbalanced(host.source),
        *(f"foreign word {word}" for word in sorted({match[0] for match in _FOREIGN.finditer(host.source)})),
        *(fault for kernel in host.kernels.values() for fault in _arguments(kernel, host.source)),
        *(fault for launch in launches for fault in _launch(launch, host.kernels)),
        *_literals(host.source, intended),
    ]


def _unbalanced(source: str) -> list[str]:
    opened: list[str] = []
    for character in re.sub(r"//[^\n]*", "", source):
        if character in _PAIRS.values():
            opened.append(character)
        elif character in _PAIRS and (not opened or opened.pop() != _PAIRS[character]):
            return [f"unbalanced {character}"]
    return [f"unclosed {opened[-1]}"] if opened else []


def _arguments(kernel: Kernel, source: str) -> list[str]:
    """A kernel's parameters: buffers numbered from 0, then one struct with the scalars in the host's order."""
    signatures = dict(_SIGNATURE.findall(source))
    if kernel.name not in signatures:
        return [f"no kernel {kernel.name}"]
    numbers = [int(n) for n in re.findall(r"\[\[ ?buffer\((\d+)\) ?\]\]", signatures[kernel.name])]
    wanted = kernel.buffers + bool(kernel.scalars)
    found = [] if numbers == list(range(wanted)) else [f"{kernel.name}: buffers {numbers}, the host has {wanted}"]
    struct = re.search(rf"struct {kernel.name}_args_t \{{(.*?)\}};", source, re.S)
    fields = re.findall(r"(\w+) \w+;", struct[1]) if struct else []
    types = [_TYPES[dtype] for dtype in kernel.scalars]
    return found if fields == types else [*found, f"{kernel.name}: scalars {fields}, the host has {types}"]


def _launch(launch: ReadyLaunch, kernels: dict[str, Kernel]) -> list[str]:
    kernel = kernels.get(launch.kernel)
    if kernel is None:
        return [f"launches {launch.kernel}, which is not there"]
    if (len(launch.buffers), len(launch.scalars)) != (kernel.buffers, len(kernel.scalars)):
        return [f"{launch.kernel}: launched with {len(launch.buffers)} buffers, {len(launch.scalars)} scalars"]
    threads = int(np.prod(launch.block))
    return [] if 0 < threads <= _MOST_THREADS else [f"{launch.kernel}: {threads} threads"]


def _literals(source: str, intended: Iterable[float]) -> list[str]:
    """Numbers of the program that no literal in the source stands for, in float32."""
    with np.errstate(over="ignore"):
        printed = {float(np.float32(literal.rstrip("f"))) for literal in _LITERAL.findall(source)}
        wanted = {abs(float(np.float32(value))) for value in intended}
    missing = {value for value in wanted if np.isfinite(value) and value not in printed}
    found = [LARGEST_IS_ANOTHER] if _LARGEST in missing else []
    inexact = len(missing - {_LARGEST})
    return [*found, digits_lost(inexact)] if inexact else found


def digits_lost(constants: int) -> str:
    return f"{constants} constants lose their last digits"
