"""Memory layouts that are drawn."""

from __future__ import annotations

from collections import Counter

from hypothesis import Phase, find, given, seed, settings

from tapml_fuzz.core.case import LAYOUTS, PACKED, Layout
from tapml_fuzz.strategies.layouts import layouts


def test_every_layout_is_drawn_and_packed_shrinks_best() -> None:
    seen: Counter[str] = Counter()

    @seed(1)
    @settings(max_examples=200, database=None, phases=[Phase.generate])
    @given(layouts)
    def draw(layout: Layout) -> None:
        seen[layout] += 1

    draw()
    assert set(seen) == set(LAYOUTS)
    assert seen.most_common(1)[0][0] == PACKED
    assert find(layouts, lambda layout: True, settings=settings(database=None)) == PACKED
