from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tapml_fuzz.cli.main import main


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it said on standard output and standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        assert isinstance(stop.value.code, int)
        return Ended(stop.value.code, *capfd.readouterr())

    return run
