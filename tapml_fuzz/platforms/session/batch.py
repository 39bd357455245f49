"""Cases that go to a worker in one message: those of one build, as many as one message may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.session.wire import CaseSpec, RunRequest, specs_of

# The worker holds a message's inputs, the supervisor its outputs; a worker that is lost has lost the rest of it.
CASES = 64
BYTES = 4 << 20  # of inputs; a case that is larger goes alone


def batch_from(cases: Sequence[Case], start: int, goes_along: Callable[[Case], bool]) -> list[Case]:
    """The case at `start`, and those right after it that may go along and fit into a message with it."""
    batch: list[Case] = []
    size = 0
    for case in islice(cases, start, start + CASES):
        size += sum(tensor.nbytes for tensor in case.tensors)
        if batch and (size > BYTES or not goes_along(case)):
            break
        batch.append(case)
    return batch


def run_request(handle: int, cases: Sequence[Case]) -> tuple[RunRequest, list[Array]]:
    """The message that runs cases on a build, and its payload."""
    specs = tuple(CaseSpec(specs_of(case.tensors), case.layouts, dict(case.sizes)) for case in cases)
    return RunRequest(handle, specs), [tensor for case in cases for tensor in case.tensors]
