"""The choice of seeds among thousands of recorded calls: few, and as unlike each other as the model made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """A recorded call, remembered by what makes it worth keeping rather than by its tensors.

    `peak` is the largest visible magnitude over the mean one, weights aside; `padded` says whether its batch
    holds padding; `foreign` whether a sentence of it is in another script than most of the file.
    """

    batch: int
    node: str
    elements: int
    peak: float
    padded: bool
    foreign: bool


# What a good set of seeds has, in order of worth: an outlier, the longest, the shortest, padding, another script.
_WISHES: tuple[Callable[[Sighting], float], ...] = (
    lambda s: s.peak,
    lambda s: float(s.elements),
    lambda s: -float(s.elements),
    lambda s: float(s.padded),
    lambda s: float(s.foreign),
)


def select_seeds(sightings: Sequence[Sighting], count: int) -> list[Sighting]:
    """Up to `count` sightings: one per wish, then from the layers and batches least seen so far."""
    pool, chosen = list(sightings), list[Sighting]()
    nodes, batches = Counter[str](), Counter[int]()

    def rank(sighting: Sighting, wish: Callable[[Sighting], float]) -> tuple[float, ...]:
        return (-wish(sighting), nodes[sighting.node], batches[sighting.batch], -sighting.elements)

    while pool and len(chosen) < count:
        wish = _WISHES[len(chosen)] if len(chosen) < len(_WISHES) else (lambda s: 0.0)
        best = min(pool, key=lambda s: rank(s, wish))
        pool.remove(best)
        chosen.append(best)
        nodes[best.node] += 1
        batches[best.batch] += 1
    return chosen
