"""Facts about a platform: the freedoms that its specification takes with numbers, and what it can be asked for."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """Numerical policy of a platform: the facts that turn `wrong` into `permitted`.

    Attributes:
        flushes_subnormals: results and operands below the smallest normal may be replaced by zero.
        assumes_finite: the specification lets the implementation assume that no NaN or infinity occurs.
        accuracy: name of the specification's accuracy table in `oracle.accuracy` (`"ieee"`, `"cuda-fast"`,
            `"triton"`, `"opencl"`, `"wgsl"`).
        source: the section of the specification that says so.
    """

    flushes_subnormals: bool = False
    assumes_finite: bool = False
    accuracy: str = "ieee"
    source: str = ""


class Capabilities(msgspec.Struct, frozen=True):
    """The requests that a platform can be given.

    Attributes:
        dtypes: names of the dtypes it takes as inputs and outputs.
        strided: whether it reads non-contiguous inputs (otherwise they are packed before the call).
        symbolic: whether one build serves many shapes.
        max_elements: largest number of elements of one tensor.
        empty: whether it takes tensors of no elements; if not, it refuses them in words (`NotSupported`).
    """

    dtypes: tuple[str, ...]
    strided: bool = False
    symbolic: bool = True
    max_elements: int = 1 << 24
    empty: bool = True
