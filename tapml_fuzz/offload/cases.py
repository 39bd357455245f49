"""The calls of one unit, to be validated without the model around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tapml_fuzz.core.case import Case
from tapml_fuzz.offload.recording import Recording, calls_of

# Calls of a unit that are replayed: as many of each shape, unlike ones (a model repeats its layers). Chosen: more than
# MiniLM has layers.
_PER_SHAPE = 8


def cases_of(recordings: Sequence[Recording], key: str) -> tuple[Case, ...]:
    """The unit's calls on what the reference run gave them (teacher-forced), without repetitions, in order."""
    seen: set[str] = set()
    shapes: Counter[tuple[tuple[int, ...], ...]] = Counter()
    cases = []
    for recording, step in calls_of(recordings, key):
        shape = tuple(tuple(recording.tensor(name).shape) for name in step.inputs)
        if shapes[shape] >= _PER_SHAPE:
            continue
        case = recording.case(step)
        if case.id not in seen:
            seen.add(case.id)
            shapes[shape] += 1
            cases.append(case)
    return tuple(cases)
