"""Which faults are planted together: many in one walk, each beside operators that have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.offload.kinds import HARDER, KINDS, RARE
from tapml_fuzz.offload.subject import Subject

GROUPS = ("faults", "pairs", "now and then")
# A fault that is there at some runs only spoils walks for all, so few share one.
_RARE_EVERY = 8


@dataclass(frozen=True)
class Round:
    """One walk: kinds of faults by operator key, and pairs; `group` says which figures it counts for."""

    group: str
    faults: Mapping[str, str] = field(default_factory=dict)
    pairs: Sequence[tuple[str, str]] = ()


def rounds(keys: Sequence[str], edges: Sequence[tuple[str, str]], pairs: int) -> list[Round]:
    """Every kind in every operator, `pairs` of `edges`, and in every operator a fault that is rarely there.

    In a walk every second operator has a fault and the others are the control; kinds differ from one to the next.
    """
    kinds = [*KINDS, *HARDER]
    every = [
        Round("faults", {key: kinds[(i + turn) % len(kinds)] for i, key in enumerate(keys[half::2])})
        for turn in range(len(kinds))
        for half in (0, 1)
    ]
    every += [Round("pairs", pairs=apart) for apart in _apart(_spread(edges, pairs))]
    rare = list(RARE)
    every += [
        Round("now and then", {key: rare[i % len(rare)] for i, key in enumerate(keys[start::_RARE_EVERY])})
        for start in range(min(_RARE_EVERY, len(keys)))
    ]
    return every


def edges_of(subject: Subject, sound: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of unlike operators among `sound` of which the second reads what the first makes, in order."""
    found: dict[tuple[str, str], None] = {}
    for recording in subject.recordings:
        maker: dict[str, str] = {}
        for step in recording.steps:
            for name in step.inputs:
                pair = (maker.get(name, ""), step.operator.key)
                if pair[0] != pair[1] and set(pair) <= set(sound):
                    found.setdefault(pair)
            maker.update(dict.fromkeys(step.outputs, step.operator.key))
    return list(found)


def _spread(edges: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """`count` of them at even steps."""
    count = min(count, len(edges))
    return [edges[i * len(edges) // count] for i in range(count)]


def _apart(edges: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Groups in which no operator is in two pairs."""
    left = list(edges)
    while left:
        taken: set[str] = set()
        group = []
        for pair in left:
            if not taken & set(pair):
                group.append(pair)
                taken |= set(pair)
        yield group
        left = [pair for pair in left if pair not in group]
