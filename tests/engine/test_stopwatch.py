"""Seconds are booked once, to the innermost booking, or all to reduction."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tapml_fuzz.engine import stopwatch
from tapml_fuzz.engine.stopwatch import Stopwatch, Times


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stopwatch, "time", made)
    return made


def spent(watch: Stopwatch) -> dict[str, float]:
    return {name: seconds for name, seconds in asdict(watch.times).items() if seconds}


def test_an_inner_booking_is_not_the_outer_ones_as_well(clock: Clock) -> None:
    watch = Stopwatch()
    with watch.booking("generate"):
        clock.now += 1
        with watch.booking("candidate"):
            clock.now += 10
        clock.now += 100
    clock.now += 1000  # nobody's
    with watch.booking("candidate"):
        clock.now += 5
    assert spent(watch) == {"generate": 101, "candidate": 15}


def test_everything_within_a_reduction_is_reduction(clock: Clock) -> None:
    watch = Stopwatch()
    with watch.booking("generate"), watch.booking("reduce"):
        clock.now += 1
        with watch.booking("oracle"):
            clock.now += 2
        watch.rebook(1, "candidate", "build")
    with watch.booking("oracle"):
        clock.now += 4
    assert spent(watch) == {"reduce": 3, "oracle": 4}


def test_time_is_booked_when_what_it_was_spent_on_raises(clock: Clock) -> None:
    watch = Stopwatch()

    def failing() -> None:
        with watch.booking("oracle"):
            clock.now += 3
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    with watch.booking("generate"):
        clock.now += 1
    assert spent(watch) == {"oracle": 3, "generate": 1}


def test_rebooking_moves_seconds_and_makes_none(clock: Clock) -> None:
    watch = Stopwatch()
    with watch.booking("candidate"):
        clock.now += 5
    watch.rebook(3, "candidate", "build")
    assert spent(watch) == {"candidate": 2, "build": 3}


def test_times_of_workers_add_up_and_a_copy_stays(clock: Clock) -> None:
    watch = Stopwatch()
    before = watch.times
    with watch.booking("build"):
        clock.now += 2
    total = Times(build=1, oracle=1)
    total.add(watch.times)
    assert (before, total) == (Times(), Times(build=3, oracle=1))
