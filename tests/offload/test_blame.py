"""The smallest failing set, and the way of an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapml_fuzz.offload import blame
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.walk import Graph
from tests.offload.planting import Twin, pair_of


@given(st.integers(0, 40), st.data())
def test_the_smallest_failing_set_is_found_whatever_surrounds_it(count: int, data: st.DataObject) -> None:
    items = [f"unit-{n}" for n in range(count)]
    culprits = frozenset(data.draw(st.lists(st.sampled_from(items), max_size=4, unique=True)) if items else [])
    asked: list[frozenset[str]] = []

    def fails(some: frozenset[str]) -> bool:
        asked.append(some)
        return culprits <= some

    assert frozenset(blame.smallest_failing(items, fails)) == culprits
    assert len(asked) <= 8 + 4 * len(culprits) * max(1, count.bit_length()) ** 2


def test_growth_tells_who_made_an_error_from_who_passed_it_on(subject: Subject) -> None:
    key = next(k for k in subject.operators if k.startswith("gelu"))
    with Hybrid(Site("torch-cpu"), Site("twin", Twin({key: "value"}))) as hybrid:
        assignment = dict.fromkeys(subject.operators, "twin")
        check = subject.check(hybrid, assignment)
        assert check.failed
        assert check.first is not None
        assert check.first.key == key
        rows = blame.growth(subject, hybrid, assignment, check)
    wrong_alone = {row.key for row in rows if row.forced is not None and row.forced > 1}
    assert wrong_alone == {key}
    ratios = [row.propagated for row in rows]
    assert sum(ratio > 1 for ratio in ratios) > 1, "those after it only pass it on"
    assert ratios[:-1] == sorted(ratios[:-1])


def test_partners_are_none_for_a_unit_that_fails_by_itself(subject: Subject) -> None:
    key = next(k for k in subject.operators if k.startswith("gelu"))
    others = [k for k in subject.operators if k != key]
    with Hybrid(Site("torch-cpu"), Site("twin", Twin({key: "value"}))) as hybrid:
        assert blame.partners(Graph(subject, hybrid).check, "twin", key, others) == ()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_pair_is_found_whichever_moves_last(subject: Subject, order: tuple[int, int]) -> None:
    pair = pair_of(subject, "gelu")
    last, partner = pair[order[0]], pair[order[1]]
    others = [k for k in subject.operators if k != last]
    with Hybrid(Site("torch-cpu"), Site("twin", Twin({}, [pair]))) as hybrid:
        assert not subject.check(hybrid, {pair[0]: "twin"}).failed
        assert not subject.check(hybrid, {pair[1]: "twin"}).failed
        assert blame.partners(Graph(subject, hybrid).check, "twin", last, others) == (partner,)
