"""What a session refuses for its platform's capabilities: in words, in its turn, and without asking the platform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import Built, Ok, Unsupported
from tapml_fuzz.core.policy import NO_LIMIT, Capabilities
from tapml_fuzz.platforms.base import BuildSpec, Info
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.session import Session
from tapml_fuzz.platforms.session.wire import MAX_PAYLOAD
from tests.platforms.fakes import WHERE, Echo, Modest
from tests.platforms.operators import case, clone

_FEW = Capabilities(("float32",), ("int64",), max_elements=12, empty=False)


class Limited(Echo):
    """Hands back what it is given, notes it, and takes little."""

    name = "limited"

    def __init__(self) -> None:
        self.built: list[tuple[str, ...]] = []

    def activate(self) -> Info:
        return msgspec.structs.replace(super().activate(), name=self.name, capabilities=_FEW)

    def build(self, spec: BuildSpec) -> Any:
        self.built.append(spec.dtypes)
        return super().build(spec)


def given(dtype: str = "float32", a: int = 2, b: int = 3, seed: int = 0) -> Case:
    return case(clone(dtype), a=a, b=b, seed=seed)


@pytest.fixture(params=["in this process", "in a worker"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    if request.param == "in this process":
        with InProcessSession(Limited()) as session:
            yield session
    else:
        with WorkerSession("limited", where="tests.platforms.session.test_admission:Limited") as session:
            yield session


_REFUSED = [
    (given("float16"), "limited takes no float16 (input 0); it takes float32, int64"),
    (given(a=0), "limited takes no tensors of no elements; input 0 is float32[0, 3]"),
    (given(b=7), "limited takes tensors of 12 elements at most; input 0 is float32[2, 7], which has 14"),
]


@pytest.mark.parametrize(("refused", "words"), _REFUSED)
def test_refusals_are_sentences_in_a_build_and_in_a_run(refused: Case, words: str, session: Session) -> None:
    assert session.run(refused) == Unsupported(words)
    assert session.build(refused.operator, refused.dtypes, refused.sizes) == Unsupported(words)
    assert session.builds == 0


def test_dtypes_accepted_are_more_than_those_computed_in(session: Session) -> None:
    assert isinstance(session.run(given("int64")), Ok)
    assert isinstance(session.build(clone(), ("float32",), {"a": 3, "b": 4}), Built)


def test_refusals_among_other_cases_come_in_their_turn(session: Session) -> None:
    cases = [given(seed=1), _REFUSED[1][0], given(seed=2), _REFUSED[0][0], _REFUSED[2][0], given(seed=3)]
    outcomes = list(session.run_many(cases))
    for each, outcome in zip(cases, outcomes, strict=True):
        words = [words for refused, words in _REFUSED if refused is each]
        if words:
            assert outcome == Unsupported(words[0])
        else:
            assert isinstance(outcome, Ok)
            np.testing.assert_array_equal(outcome.outputs[0], each.tensors[0])
    assert session.builds == 1


def test_a_platform_is_not_asked_twice_about_a_dtype() -> None:
    platform = Limited()
    with InProcessSession(platform) as session:
        for _ in range(3):
            assert isinstance(session.run(given("float16")), Unsupported)
            assert isinstance(session.run(given()), Ok)
    assert platform.built == [("float32",)]


def test_tensors_are_packed_for_a_platform_that_reads_no_strides() -> None:
    strided, layouts = Limited(), []

    def run(build: Any, tensors: Any, given: Any, sizes: Any) -> Ok[Any]:
        layouts.append(given)
        return Ok(tuple(tensors))

    strided.run = run  # type: ignore[method-assign]
    with InProcessSession(strided) as session:
        session.run(case(clone(), layout="transposed", a=2, b=3))
    assert layouts == [("contiguous",)]
    with InProcessSession(Modest()) as session:
        assert session.reproducer(case(clone(), layout="transposed", a=2, b=3)) is not None


def test_an_unavailable_platform_is_that_before_anything_else() -> None:
    with WorkerSession("absent", where=WHERE + "Absent") as session:
        outcome = session.run(given(a=0))
        assert isinstance(outcome, Unsupported)
        assert "no such device" in outcome.reason


def test_capabilities_of_earlier_versions_are_read() -> None:
    old = (
        b'{"name":"tvm-llvm","available":true,"reason":"","hint":"","device":"cpu","versions":{},"capabilities":'
        b'{"dtypes":["float32"],"strided":false,"symbolic":true,"max_elements":16777216},"policy":null,"eager":false}'
    )
    capabilities = msgspec.json.decode(old, type=Info).capabilities
    assert capabilities is not None
    assert (capabilities.accepted, capabilities.empty) == (("float32",), True)
    assert msgspec.json.decode(msgspec.json.encode(_FEW), type=Capabilities) == _FEW


def test_no_limit_is_what_a_message_holds() -> None:
    assert NO_LIMIT == MAX_PAYLOAD
