"""The admission of builds and runs: those that a platform's `Capabilities` exclude are refused here, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from tapml_fuzz.core.case import PACKED, Case
from tapml_fuzz.core.outcome import Unsupported
from tapml_fuzz.core.policy import Capabilities


class Admission:
    """The inputs that the platform `name` takes.

    A refusal names the input that is not taken and those that are; None stands for admitted. Dtypes belong to a build,
    so the session asks about them once a build; sizes belong to a case.
    """

    def __init__(self, name: str, capabilities: Capabilities) -> None:
        self._name, self._capabilities = name, capabilities
        self._smallest = 0 if capabilities.empty else 1
        self._largest = capabilities.max_elements

    def refused_dtypes(self, dtypes: Sequence[str]) -> Unsupported | None:
        """The refusal of inputs of these dtypes, one per slot of the operator."""
        accepted = self._capabilities.accepted
        for slot, dtype in enumerate(dtypes):
            if dtype not in accepted:
                return Unsupported(f"{self._name} takes no {dtype} (input {slot}); it takes {', '.join(accepted)}")
        return None

    def refused_shapes(self, dtypes: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Unsupported | None:
        """The refusal of inputs of these shapes, one per slot of the operator."""
        for slot, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True)):
            elements = prod(shape)
            if elements < self._smallest:
                return Unsupported(
                    f"{self._name} takes no tensors of no elements; input {slot} is {dtype}{list(shape)}"
                )
            if elements > self._largest:
                most = f"{self._name} takes tensors of {self._largest} elements at most"
                return Unsupported(f"{most}; input {slot} is {dtype}{list(shape)}, which has {elements}")
        return None

    def refused(self, case: Case) -> Unsupported | None:
        """The refusal of a case for the sizes of its tensors. Asked before every run: under a microsecond."""
        smallest, largest = self._smallest, self._largest
        for tensor in case.tensors:
            if not smallest <= tensor.size <= largest:
                return self.refused_shapes(case.dtypes, case.shapes)
        return None

    def laid_out(self, case: Case) -> Case:
        """The case as the platform is given it: packed, if it reads no strides."""
        if self._capabilities.strided or case.layouts.count(PACKED) == len(case.layouts):
            return case
        return replace(case, layouts=())
