"""Sizes at which kernels break: one, primes, powers of two and tile sizes plus or minus one, and zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators.invoke import call, torch_dtype

# Ascending, so that Hypothesis shrinks toward the smallest: one, primes, and the powers of two that kernels have as
# vectors, warps, tiles and work-groups (up to 1024 threads on CUDA, 256 guaranteed by WebGPU), one less and one more.
BOUNDARY_SIZES: tuple[int, ...] = (
    1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 61, 63, 64, 65, 127, 128, 129, 251, 255, 256, 257,
    511, 512, 513, 1023, 1024, 1025,
)  # fmt: skip
# An axis that a compiler cannot leave open costs one build per size, so few sizes are tried there.
FIXED_AXIS_SIZES: tuple[int, ...] = (1, 2, 3)
# One more than a multiple of any block size in use, and so a tail of one whatever the block; no tail at all; one less;
# then single block sizes.
TELLING_SIZES: tuple[int, ...] = (1025, 1, 1024, 33, 0, 257, 1023, 65, 7, 129, 513, 31)
# More than a grid may be long in one dimension (65535 on most platforms, WebGPU 3.6.2), or than 16 bits count.
LONG_SIZE = 65537
# Of inputs: three tensors of one long axis.
_LONG_ELEMENTS = 1 << 18
# Of outputs, which a long axis may multiply (an outer difference): 32 MB in float64, which the truth is computed in.
_OUTPUT_ELEMENTS = 1 << 22


def boundary_sizes(operator: Operator, axis: str) -> tuple[int, ...]:
    """Sizes worth trying for one axis."""
    return BOUNDARY_SIZES if axis in operator.symbolic_axes else FIXED_AXIS_SIZES


def elements(operator: Operator, sizes: Mapping[str, int]) -> int:
    """Input elements over all tensors at these sizes."""
    return sum(math.prod(shape) for shape in operator.shapes(sizes))


def limit(sizes: Sequence[tuple[str, int]], max_elements: int) -> int:
    """Largest number of input elements of a case: more than `max_elements` where a long axis is the point."""
    return max(max_elements, _LONG_ELEMENTS) if any(size >= LONG_SIZE for _, size in sizes) else max_elements


def affordable(operator: Operator, tensors: Sequence[Array], sizes: Mapping[str, int]) -> bool:
    """Tell whether the outputs stay within a bound, by torch's meta device; not where that cannot tell."""
    if max(sizes.values(), default=0) < LONG_SIZE:
        return True
    try:
        metas = [torch.empty(t.shape, dtype=torch_dtype(name_of(t)), device="meta") for t in tensors]
        outputs = call(operator, metas, sizes)
    except Exception:  # whatever the operator raises
        return False
    return sum(o.numel() for o in outputs) <= _OUTPUT_ELEMENTS


def fit(operator: Operator, sizes: Mapping[str, int], keep: frozenset[str], max_elements: int) -> dict[str, int]:
    """Shrink axes until the case has at most `max_elements`; those in `keep` last, the largest first."""
    fitted = dict(sizes)
    for protected in (keep, frozenset[str]()):
        while elements(operator, fitted) > max_elements:
            loose = [a for a in fitted if a not in protected and fitted[a] > 1 and a in operator.symbolic_axes]
            if not loose:
                break
            largest = max(loose, key=lambda a: fitted[a])
            fitted[largest] = max(1, fitted[largest] // 2)
    return fitted
