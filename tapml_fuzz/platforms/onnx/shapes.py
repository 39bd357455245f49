"""A check of a case's shapes, for runtimes that would not notice that they contradict a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.base import BuildSpec


def check_shapes(spec: BuildSpec, tensors: Sequence[Array], sizes: Mapping[str, int]) -> None:
    """Raise `ValueError` for tensors that are not of the shapes of `spec` at `sizes`.

    IREE would read beyond the smaller tensor; OpenVINO would answer with outputs of no elements.
    """
    wanted = spec.operator.shapes({**sizes, **spec.sizes})
    for number, (tensor, shape) in enumerate(zip(tensors, wanted, strict=True)):
        if tensor.shape != shape:
            raise ValueError(f"input {number} has shape {tensor.shape}, built for {shape}")
