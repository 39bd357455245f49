"""Sizes at which kernels break: one, primes, powers of two and tile sizes plus or minus one, and zero."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tapml_fuzz.core.operator import Operator

# Ascending within a rank of interest, so that Hypothesis shrinks toward the smallest.
BOUNDARY_SIZES: tuple[int, ...] = (
    1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 61, 63, 64, 65, 127, 128, 129, 251, 255, 256, 257,
    511, 512, 513, 1023, 1024, 1025,
)  # fmt: skip
# An axis that a compiler cannot leave open costs one build per size, so few sizes are tried there.
FIXED_AXIS_SIZES: tuple[int, ...] = (1, 2, 3)


def boundary_sizes(operator: Operator, axis: str) -> tuple[int, ...]:
    """Sizes worth trying for one axis."""
    return BOUNDARY_SIZES if axis in operator.symbolic_axes else FIXED_AXIS_SIZES


def elements(operator: Operator, sizes: Mapping[str, int]) -> int:
    """Input elements over all tensors at these sizes."""
    return sum(math.prod(shape) for shape in operator.shapes(sizes))


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
