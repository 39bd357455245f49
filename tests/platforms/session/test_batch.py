"""Many cases in one message: each has the outcome that it would have had alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.core.case import Case, Layout
from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.core.outcome import Crash, Ok, RunError, RunOutcome, Timeout, Unreachable
from tapml_fuzz.platforms.remote.session import Host
from tapml_fuzz.platforms.session import batch
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.wire import CaseSpec, Channel, Message, RunRequest, WireError, frame
from tests.platforms.fakes import WHERE
from tests.platforms.operators import MINILM, SOFTMAX, SUB, case, clone


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many cases each run request has held that was sent so far."""
    sent: list[int] = []
    send = Channel.send

    def noted(self: Channel, message: Message, tensors: Sequence[Array] = (), deadline: float | None = None) -> None:
        if isinstance(message, RunRequest):
            sent.append(len(message.cases))
        send(self, message, tensors, deadline)

    monkeypatch.setattr(Channel, "send", noted)
    return sent


def isolated(kind: str, **options: float) -> WorkerSession:
    return WorkerSession("fake", where=WHERE + kind, **options)  # type: ignore[arg-type]


def filled(*values: float, rows: int = 2) -> list[Case]:
    sizes = {"a": rows, "b": 3}
    return [Case(clone(), sizes, (np.full((rows, 3), value, np.float32),)) for value in values]


def echoes(outcomes: Sequence[RunOutcome]) -> list[float | RunOutcome]:
    """The value that came back, or what came instead."""
    return [float(o.outputs[0].flat[0]) if isinstance(o, Ok) else o for o in outcomes]


_LAYOUTS: tuple[Layout, ...] = ("contiguous", "transposed", "strided", "offset")


def test_outcomes_are_those_of_single_runs_bit_for_bit(messages: list[int]) -> None:
    cases = [case(SOFTMAX, layout=_LAYOUTS[n % 4], seed=n, a=1 + n, b=5 + n % 3) for n in range(9)]
    cases[4:4] = [case(MINILM["embedding"], seed=n, a=2, b=n, c=7, k=4) for n in range(3)]
    with WorkerSession("torch-cpu") as session:
        together = list(session.run_many(cases))
        assert messages == [4, 3, 5]
        alone = [session.run(c) for c in cases]
    assert len(together) == len(alone) == 12
    for ours, theirs in zip(together, alone, strict=True):
        assert isinstance(ours, Ok)
        assert isinstance(theirs, Ok)
        assert (ours.unwritten, ours.mutated, ours.aliased) == (theirs.unwritten, theirs.mutated, theirs.aliased)
        for a, b in zip(ours.outputs, theirs.outputs, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            np.testing.assert_array_equal(to_bits(a), to_bits(b))


def test_the_case_that_crashes_is_the_one_to_blame(messages: list[int]) -> None:
    with isolated("Crashing") as session:
        outcomes = list(session.run_many(filled(1, 2, 13, 3, 13, 4)))
        first, second = outcomes.pop(2), outcomes.pop(3)
        assert echoes(outcomes) == [1, 2, 3, 4]
        for crash in (first, second):
            assert isinstance(crash, Crash)
            assert crash.exit_code == -signal.SIGSEGV
            assert crash.stderr.rstrip().endswith("last words")
        assert session.restarts == 2
        assert messages == [6, 3, 1], "only what comes after a crash runs anew"


def test_the_case_that_hangs_is_the_one_to_blame() -> None:
    with isolated("Hanging", run_timeout=0.5) as session:
        began = time.monotonic()
        assert echoes(list(session.run_many(filled(1, 13, 2)))) == [1, Timeout(0.5), 2]
        assert time.monotonic() - began < 5


def test_each_case_has_the_whole_time_limit() -> None:
    with isolated("Slow", run_timeout=0.5) as session:
        assert echoes(list(session.run_many(filled(1, 2, 3, 4, 5)))) == [1, 2, 3, 4, 5]


def test_an_exception_costs_its_own_case(messages: list[int]) -> None:
    fitting = case(SUB, a=2, b=3)
    bad = Case(SUB, {"a": 2, "b": 3}, (np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32)))
    with WorkerSession("torch-cpu") as session:
        outcomes = list(session.run_many([fitting, bad, fitting]))
        assert session.restarts == 0
    assert [type(o) for o in outcomes] == [Ok, RunError, Ok]
    assert messages == [3]


def test_a_lost_device_costs_the_worker_but_no_other_case(messages: list[int]) -> None:
    with isolated("LosingDevice") as session:
        one, lost, two, three = session.run_many(filled(1, 13, 2, 3))
        assert isinstance(lost, RunError)
        assert echoes([one, two, three]) == [1, 2, 3]
        assert session.restarts == 1
        assert messages == [4, 2]


def test_a_machine_that_goes_away_takes_the_rest_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPML_FUZZ_TEST_AWAY", str(tmp_path / "away"))
    with WorkerSession("fake@rpc://127.0.0.1:1", where=WHERE + "Leaving") as session:
        gone = Unreachable("lost the connection")
        assert echoes(list(session.run_many(filled(1, 13, 2)))) == [1, gone, gone]


def test_unwritten_elements_are_those_of_their_case() -> None:
    given = filled(1, 2, 3)
    given[1].tensors[0][0, 1] = 13
    with isolated("Forgetful") as session:
        outcomes = list(session.run_many(given))
    assert [o.unwritten for o in outcomes if isinstance(o, Ok)] == [(0,), (1,), (0,)]


def test_worker_is_replaced_after_the_message_in_which_it_grew_old(messages: list[int]) -> None:
    with isolated("Echo", runs_per_worker=3) as session:
        assert echoes(list(session.run_many(filled(*range(7))))) == [*range(7)]
        assert (session.restarts, messages) == (1, [7])
    with isolated("Echo", resident_limit=1) as session:
        assert echoes(list(session.run_many(filled(*range(20))))) == [*range(20)]
        assert session.restarts == 1


def test_bytes_and_number_of_a_message_are_bounded(messages: list[int]) -> None:
    third = batch.BYTES // 3 // 12  # rows of three float32
    big = filled(0, 1, 2, 3, 4, 5, 6, rows=third)
    big[4:4] = filled(7, rows=4 * third)
    with isolated("Echo") as session:
        assert echoes(list(session.run_many(big))) == [0, 1, 2, 3, 7, 4, 5, 6]
        assert messages == [3, 1, 1, 3]
        messages.clear()
        assert echoes(list(session.run_many(filled(*range(150))))) == [*range(150)]
        assert messages == [batch.CASES, batch.CASES, 150 - 2 * batch.CASES]


def test_cases_of_different_builds_are_built_when_their_turn_comes(messages: list[int]) -> None:
    cases = [case(clone(), a=a, b=b) for a, b in ((2, 3), (4, 3), (5, 4), (6, 4), (7, 3))]
    with isolated("Static") as session:  # one build per `b`
        running = session.run_many(cases)
        next(running)
        assert (session.builds, messages) == (1, [2])
        assert echoes([session.run(filled(9)[0])]) == [9], "a run in between"
        for given, outcome in zip(cases[1:], running, strict=True):
            assert isinstance(outcome, Ok)
            np.testing.assert_array_equal(outcome.outputs[0], given.tensors[0])
        assert (session.builds, messages) == (2, [2, 1, 2, 1])


def test_a_build_that_fails_is_the_outcome_of_each() -> None:
    with isolated("BuildCrashing") as session:
        assert list(session.run_many(filled(1, 2))) == [Crash(7, "")] * 2
        assert session.restarts == 0


def test_a_session_in_this_process_runs_only_what_is_asked_for() -> None:
    given = filled(1, 2, 3)
    with InProcessSession("torch-cpu") as session:
        running = session.run_many(given)
        assert echoes([next(running)]) == [1]
        given[1].tensors[0][:] = 5
        assert echoes(list(running)) == [5, 3]


def test_a_server_takes_one_case_at_a_time() -> None:
    from tapml_fuzz.platforms.remote.parcel import Shelf, pack

    parcel = pack(frame(RunRequest(1, (CaseSpec((), (), {}),) * 2)), Shelf())
    with pytest.raises(WireError, match="one case at a time"):
        Host(-1).ask(parcel)
