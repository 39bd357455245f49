"""`serve`: options that cannot work are refused before anything listens."""

from __future__ import annotations

import pytest

from tapml_fuzz.cli import serve as module
from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--tracker", "127.0.0.1:9190"], "error E204: --tracker needs a name for the device (give --key NAME)"),
        (["--tracker", "nonsense", "--key", "k"], "error E204: "),
        (["--tracker", "192.168.1.2:9190", "--key", "k"], "error E204: the tracker would send clients to 127.0.0.1"),
        (["--key", "a b"], "error E204: "),
        (["--port", "70000"], "error E204: Invalid value for '--port'"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], line: str, command: Command) -> None:
    done = command("serve", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_the_address_that_is_told_is_one_that_a_client_can_use() -> None:
    assert module._shown("192.168.1.2") == "192.168.1.2"
    assert module._shown("0.0.0.0") not in ("0.0.0.0", "")
