"""A machine that does not answer: why it was lost stays said, and tries become rarer."""

from __future__ import annotations

import pytest

from tapml_fuzz.platforms.session import reconnection
from tapml_fuzz.platforms.session.reconnection import Absence


def test_tries_become_rarer_and_the_reason_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(reconnection.time, "monotonic", lambda: now)
    absence = Absence("lost the connection")
    assert absence.due
    pauses = []
    for _ in range(6):
        absence.again()
        assert not absence.due
        began = now
        while not absence.due:
            now += 0.5
        pauses.append(now - began)
    assert pauses == [1, 2, 4, 8, 15, 15]
    assert absence.reason == "lost the connection"
