"""`serve` as a user runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tapml_fuzz.cli import serve as command
from tapml_fuzz.core.errors import BadOption, CannotServe
from tests.platforms.servers import free_port, serving


def test_binds_to_loopback_warns_and_ends_with_ctrl_c() -> None:
    with serving() as server:
        said = "".join(server.lines)
        assert f"serving on 127.0.0.1:{server.port}" in said
        assert "TVM RPC has no authentication" in said
        server.wait_for(rf"--platform NAME@rpc://127.0.0.1:{server.port}")
        bound = subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_server(('127.0.0.2', {server.port}))"], check=False
        )
        assert bound.returncode == 0, "it listens on more than 127.0.0.1"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert not any("Traceback" in line for line in server.lines)


def test_is_loud_beyond_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    command._warn("127.0.0.1")
    quiet = capsys.readouterr().err
    command._warn("0.0.0.0")
    loud = capsys.readouterr().err
    assert "any user of this machine" in quiet
    assert "NO AUTHENTICATION" in loud
    assert "0.0.0.0 is open to the network" in loud


def test_taken_port_and_absent_tracker_are_one_line_each() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(command.serve, ["--port", str(port)])
        assert isinstance(result.exception, CannotServe)
        assert f"cannot listen on 127.0.0.1:{port}" in str(result.exception)
        assert "--port-end" in str(result.exception)
    nobody = free_port()
    result = CliRunner().invoke(command.serve, ["--port", "0", "--tracker", f"127.0.0.1:{nobody}", "--key", "k"])
    assert isinstance(result.exception, CannotServe)
    assert f"cannot connect to the tracker at 127.0.0.1:{nobody}" in str(result.exception)
    assert CannotServe.exit_code != 0


@pytest.mark.parametrize("options", [
    ["--tracker", "127.0.0.1:9190"],
    ["--tracker", "nonsense", "--key", "k"],
    ["--tracker", "192.168.1.2:9190", "--key", "k"],
    ["--key", "a b"],
])  # fmt: skip
def test_options_that_cannot_work_are_refused(options: list[str]) -> None:
    result = CliRunner().invoke(command.serve, options)
    assert isinstance(result.exception, BadOption), result.output


def test_help_has_examples_and_needs_no_heavy_import() -> None:
    script = (
        "import sys; from tapml_fuzz.cli.main import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'tvm', 'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout
