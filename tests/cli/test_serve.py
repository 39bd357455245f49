"""`serve`: options that cannot work are refused before anything listens."""

from __future__ import annotations

import socket

import pytest

from tapml_fuzz.cli import serve as module
from tests.cli.conftest import Command
from tests.platforms.servers import free_port


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


def test_is_loud_beyond_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    module._warn("127.0.0.1")
    quiet = capsys.readouterr().err
    module._warn("0.0.0.0")
    loud = capsys.readouterr().err
    assert "any user of this machine" in quiet
    assert "NO AUTHENTICATION" in loud
    assert "0.0.0.0 is open to the network" in loud


def test_taken_port_and_absent_tracker_are_one_line_each(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", "--port", port)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error E301: cannot listen on 127.0.0.1:{port}")
        assert "--port-end" in done.err
    nobody = free_port()
    done = command("serve", "--port", 0, "--tracker", f"127.0.0.1:{nobody}", "--key", "k")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error E301: cannot connect to the tracker at 127.0.0.1:{nobody}")
