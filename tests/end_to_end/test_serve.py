"""`serve` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.platforms.servers import serving


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
