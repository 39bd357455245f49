"""From a failing case to the smallest, most realistic case that still fails the same way."""

from tapml_fuzz.reduction.reducer import Reduction, reduce_case

__all__ = ["Reduction", "reduce_case"]
