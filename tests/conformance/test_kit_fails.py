"""The kit must reject what is not a platform: one that runs nothing, and one that answers without computing."""

from __future__ import annotations

import pytest

from tapml_fuzz.platforms.session.in_process import InProcessSession
from tests.conformance import checks
from tests.platforms.fakes import Honest, Lying, Null

_ABOUT_VALUES = [
    checks.echoes_every_dtype_bit_for_bit,
    checks.adds_in_every_dtype,
    checks.computes_softmax,
    checks.keeps_argument_order,
    checks.returns_several_outputs_in_order,
    checks.indexes_by_integers,
    checks.takes_scalars,
    checks.takes_every_layout,
    checks.serves_many_shapes_from_one_build,
    checks.takes_a_big_buffer,
]


@pytest.mark.parametrize("check", _ABOUT_VALUES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("platform", [Null, Lying])
def test_fails(platform: type[Null] | type[Lying], check: checks.Check) -> None:
    with InProcessSession(platform()) as session, pytest.raises(AssertionError):
        check(session)


@pytest.mark.parametrize("check", _ABOUT_VALUES, ids=lambda check: check.__name__)
def test_honest_twin_passes(check: checks.Check) -> None:
    with InProcessSession(Honest()) as session:
        check(session)
