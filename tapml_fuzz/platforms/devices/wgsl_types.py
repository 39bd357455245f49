"""The tensors that WGSL can hold: int64 goes as int32 where no output is int64; other outputs are refused in words."""

from __future__ import annotations

import msgspec
import numpy as np

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.policy import Policy
from tapml_fuzz.platforms.base import BuildSpec, NotSupported

POLICY = Policy(
    flushes_subnormals=True,
    assumes_finite=True,
    accuracy="wgsl",
    source="WGSL, 15.7 (floating point evaluation)",
)

_INT32 = np.iinfo(np.int32)
# WGSL has no type of these names (WGSL, 6.2 scalar types), so no shader can hold such a tensor.
ABSENT = ("float64", "bfloat16", "int16", "int8", "uint8")


def narrowed_spec(spec: BuildSpec) -> BuildSpec:
    """The spec with int32 for int64; raises `NotSupported` where an output is int64, which nobody could widen again."""
    from tapml_fuzz.operators.export import NotExpressible, output_dtypes

    narrowed = tuple("int32" if dtype == "int64" else dtype for dtype in spec.dtypes)
    if narrowed != spec.dtypes:
        try:
            outputs = output_dtypes(spec.operator, spec.dtypes, spec.sizes)
        except NotExpressible as error:
            raise NotSupported(f"int64 inputs, and {error}") from error
        if "int64" in outputs:
            raise NotSupported("WGSL has no int64, and an output is int64")
    return msgspec.structs.replace(spec, dtypes=narrowed)


def narrowed(tensor: Array) -> Array:
    """The tensor as it is handed over; raises `NotSupported` for an int64 value beyond 32 bits."""
    if tensor.dtype != np.int64:
        return tensor
    if tensor.size and (tensor.min() < _INT32.min or tensor.max() > _INT32.max):
        raise NotSupported("an int64 value exceeds 32 bits, and WGSL has no int64")
    return tensor.astype(np.int32)
