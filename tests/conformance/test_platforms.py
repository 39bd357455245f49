"""The conformance kit: what a platform must do before anything it computes is believed.

Every check takes a session and raises `AssertionError`, so that the kit can be run against platforms that must
fail it as well (see `test_kit_fails.py`). Platforms that cannot run here are skipped with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tapml_fuzz.platforms.registry import known
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.conformance import checks


@pytest.fixture(scope="module", params=known())
def session(request: pytest.FixtureRequest) -> Iterator[WorkerSession]:
    with WorkerSession(request.param, run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"{request.param}: {info.reason}")
        yield isolated


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_platform(check: checks.Check, session: WorkerSession) -> None:
    check(session)
