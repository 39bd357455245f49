"""`offload` on the command line: killed in the middle, resumed, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.offload.conftest import TEXTS
from tests.processes import alive, descendants, survivors


def command(model: Path, folder: Path, *more: str) -> list[str]:
    inputs = folder / "sentences.txt"
    inputs.write_text("\n".join(TEXTS))
    own = ["--inputs", str(inputs), "--to", "tvm-llvm", "--batches", "1", "--output", str(folder / "out")]
    return [sys.executable, "-u", "-m", "tapml_fuzz", "offload", "model", str(model), *own, *more]


def test_killed_in_the_middle_and_resumed(first_layer: Path, tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    walk = subprocess.Popen(
        command(first_layer, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert walk.stdout is not None
    settled: list[str] = []
    family: list[int] = []
    for line in walk.stdout:
        if " moved " in line:
            settled.append(line.split("moved")[1].split(":")[0].strip())
        if len(settled) == 6:
            family = descendants(walk.pid)
            walk.kill()  # nobody else: what it has started must notice
            break
    walk.wait()
    try:
        assert len(family) >= 2  # the walk and a worker
        assert survivors(family, 5) == []
    finally:
        walk.stdout.close()
        for process in filter(alive, family):
            os.kill(process, signal.SIGKILL)
    again = subprocess.run(
        command(first_layer, tmp_path, "--resume", "--json", str(tmp_path / "walk.json")),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert again.returncode == 1, again.stdout + again.stderr
    resumed = [line for line in again.stdout.splitlines() if line.endswith("(from the ledger)")]
    assert len(resumed) >= 6
    assert all(any(text in line for line in resumed) for text in settled)
    summary = json.loads((tmp_path / "walk.json").read_text())
    assert summary["final"]["failed"] is False
    # TVM's tanh is a fast one: a few hundred times the bound, and nothing that an embedding would show.
    (blocked,) = [unit for unit in summary["units"] if unit["status"] != "moved"]
    assert blocked["key"].startswith("tanh")
    assert blocked["noticed"] is False
    assert summary["source_nodes"] == 1
    (finding,) = blocked["findings"]
    assert (tmp_path / "out" / "findings" / finding / "reproduce.py").exists()
    assert "tanh" in (tmp_path / "out" / "offload.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--to", "tvm-lvm"], "E102"),
        (["--to", "torch-cpu"], "reference and target are the same"),
        (["--from", "tvm-opencl"], "no reference platform"),
        (["--fuzz", "soon"], "E204"),
        (["--inputs", "nowhere.txt"], "E203"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(first_layer: Path, tmp_path: Path, more: list[str], said: str) -> None:
    ended = subprocess.run(command(first_layer, tmp_path, *more), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
