"""The calls chosen are unlike each other."""

from __future__ import annotations

from tapml_fuzz.carving.select_seeds import Sighting, select_seeds


def sightings() -> list[Sighting]:
    return [
        Sighting(
            batch,
            f"layer{layer}",
            elements=10 * (batch + 1),
            peak=float(batch == 3) + layer / 10,
            padded=batch == 4,
            foreign=batch == 5,
        )
        for batch in range(8)
        for layer in range(4)
    ]


def test_each_wish_is_granted_first() -> None:
    outlier, longest, shortest, padded, foreign = select_seeds(sightings(), 5)
    assert (outlier.batch, outlier.node) == (3, "layer3")
    assert longest.batch == 7
    assert shortest.batch == 0
    assert padded.batch == 4
    assert foreign.batch == 5


def test_layers_take_turns() -> None:
    assert len({s.node for s in select_seeds(sightings(), 4)}) == 4


def test_no_more_than_there_are_and_none_twice() -> None:
    assert len(set(select_seeds(sightings(), 99))) == 32
    assert select_seeds([], 6) == []
