"""A campaign whose remote platform is taken away while it runs: nothing that was found is lost, and it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.platforms.servers import serving, tracker

pytest.importorskip("tvm")
pytest.importorskip("tornado", reason="TVM's RPC tracker needs tornado")


def test_tracker_and_server_killed_in_the_middle(tmp_path: Path) -> None:
    """The tracker goes first, which an open session does not need; then the server, at the first finding."""
    with tracker() as broker, serving("--tracker", f"127.0.0.1:{broker.port}", "--key", "board") as server:
        name = f"tvm-llvm@tracker://127.0.0.1:{broker.port}/board"
        names = [word for platform in ("tvm-llvm", name) for word in ("--platform", platform)]
        run = subprocess.Popen(
            [sys.executable, "-u", "-m", "tapml_fuzz", "run", *names, "--operator", "softmax*", "--operator", "tanh*",
             "--budget", "400trials", "--json", "out.json"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        watchdog = threading.Timer(900, run.kill)
        watchdog.start()
        lines: list[str] = []
        assert run.stdout is not None
        for line in run.stdout:
            lines.append(line)
            if " operators on " in line:
                broker.kill()
            if line.startswith("found") and sum(text.startswith("found") for text in lines) == 1:
                server.kill()
        watchdog.cancel()
        status = run.wait()
        run.stdout.close()
    output = "".join(lines)
    assert status == 1, output
    assert "Traceback" not in output
    assert f"lost     {name}: lost the connection to its server" in output, output
    summary = json.loads((tmp_path / "out.json").read_text())
    here, there = summary["platforms"]["tvm-llvm"], summary["platforms"][name]
    assert here["trials"] > there["trials"] > 0, output
    assert there["unreached"] > 0
    assert here["unreached"] == 0
    assert here["findings"] > 0
    for finding in summary["findings"]:
        assert finding["kind"] not in ("crash", "timeout", "run-error", "build-error"), "the server's death is no fault"
        assert (tmp_path / "tapml-fuzz-results" / "findings" / finding["id"] / "case.safetensors").exists()
    assert "did not answer" in (tmp_path / "tapml-fuzz-results" / "report.md").read_text()
