"""Rules by family. Importing this package registers all of them."""

from tapml_fuzz.oracle.rules import (
    casts,
    comparison,
    convolution,
    indexing,
    matmul,
    movement,
    normalisation,
    pointwise,
    reductions,
    selection,
    softmax,
)

__all__ = [
    "casts",
    "comparison",
    "convolution",
    "indexing",
    "matmul",
    "movement",
    "normalisation",
    "pointwise",
    "reductions",
    "selection",
    "softmax",
]
