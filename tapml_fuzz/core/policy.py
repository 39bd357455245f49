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


# Elements of a tensor, where a platform states no limit of its own: a message to a worker holds no more bytes
# (`session.wire.MAX_PAYLOAD`).
NO_LIMIT = 1 << 31


class Capabilities(msgspec.Struct, frozen=True):
    """The requests that a platform can be given. A session refuses the rest in words, before a build or a run.

    Attributes:
        dtypes: names of the dtypes it computes in, which inputs and outputs may have.
        also_accepts: names of further dtypes that inputs may have, though it does not claim to compute in them: they
            travel as another (WebGPU's int64 as int32), or serve as indices and masks.
        strided: whether it reads non-contiguous inputs; if not, it is given packed ones.
        symbolic: whether one build serves many shapes.
        max_elements: largest number of elements of one input.
        empty: whether it takes inputs of no elements.
    """

    dtypes: tuple[str, ...]
    also_accepts: tuple[str, ...] = ()
    strided: bool = False
    symbolic: bool = True
    max_elements: int = NO_LIMIT
    empty: bool = True

    @property
    def accepted(self) -> tuple[str, ...]:
        """Names of the dtypes that inputs may have."""
        return (*self.dtypes, *self.also_accepts)
