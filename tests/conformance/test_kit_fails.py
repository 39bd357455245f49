"""The kit must reject what is not a platform: one that runs nothing, one that answers without computing, and one that
does not do what its capabilities say. It must reject a session that asks for what they exclude, too.
"""

from __future__ import annotations

import msgspec
import pytest

from tapml_fuzz.core.dtypes import NAMES
from tapml_fuzz.core.policy import NO_LIMIT
from tapml_fuzz.platforms.session.admission import Admission
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.session import Session
from tests.conformance import checks
from tests.platforms.fakes import Fixing, Honest, Lying, Modest, Null, RefusingBig, RefusingEmpty, RefusingHalves

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


# A platform that breaks its word, and the check that notices.
_BROKEN_WORDS = [
    (RefusingHalves, checks.echoes_every_dtype_bit_for_bit),
    (RefusingHalves, checks.adds_in_every_dtype),
    (RefusingEmpty, checks.takes_zero_sizes),
    (RefusingBig, checks.takes_a_big_buffer),
    (Fixing, checks.serves_many_shapes_from_one_build),
]


@pytest.mark.parametrize(("platform", "check"), _BROKEN_WORDS)
def test_a_broken_word_is_noticed(platform: type[Honest], check: checks.Check) -> None:
    with InProcessSession(platform()) as session, pytest.raises(AssertionError):
        check(session)


class Heedless(InProcessSession):
    """Asks its platform for anything, whatever its capabilities are."""

    def _admitted(self) -> None:
        return None


_ABOUT_LIMITS = [
    checks.is_not_asked_for_what_it_does_not_take,
    checks.is_given_packed_tensors_unless_it_reads_strides,
]


@pytest.mark.parametrize("check", _ABOUT_LIMITS, ids=lambda check: check.__name__)
def test_a_session_that_heeds_no_limits_is_noticed(check: checks.Check) -> None:
    with Heedless(Modest()) as session, pytest.raises(AssertionError):
        check(session)


def without(limit: str) -> type[Session]:
    """A session that heeds every limit but one of `Capabilities`."""

    class Lax(InProcessSession):
        def _admitted(self) -> Admission | None:
            if self._admission is None:
                known = self.info().capabilities
                assert known is not None
                lax = {"also_accepts": NAMES, "empty": True, "max_elements": NO_LIMIT, "strided": True}[limit]
                self._admission = Admission(self.name, msgspec.structs.replace(known, **{limit: lax}))
            return self._admission

    return Lax


@pytest.mark.parametrize("limit", ["also_accepts", "empty", "max_elements", "strided"])
def test_every_limit_counts(limit: str) -> None:
    check = _ABOUT_LIMITS[limit == "strided"]
    with without(limit)(Modest()) as session, pytest.raises(AssertionError):  # type: ignore[call-arg, arg-type]
        check(session)


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_modest_twin_passes(check: checks.Check) -> None:
    with InProcessSession(Modest()) as session:
        check(session)
