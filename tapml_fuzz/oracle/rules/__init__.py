"""Rules by family. Importing this package registers all of them."""

from tapml_fuzz.oracle.rules import (
    casts,
    comparison,
    convolution,
    elementwise,
    indexing,
    matmul,
    movement,
    normalisation,
    reductions,
    selection,
    softmax,
)

__all__ = [
    "casts",
    "comparison",
    "convolution",
    "elementwise",
    "indexing",
    "matmul",
    "movement",
    "normalisation",
    "reductions",
    "selection",
    "softmax",
]
