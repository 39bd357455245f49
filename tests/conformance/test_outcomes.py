"""The table of platforms at the end of a run names each, whether it ran, and why it did not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_KIT = """
import pytest

@pytest.fixture(scope="module", params=["torch-cpu", "tvm-llvm", "tvm-cuda", "tvm-c, a server"])
def session(request):
    if request.param == "tvm-cuda":
        pytest.skip("tvm-cuda: no CUDA driver (libcuda.so.1)")
    return request.param

@pytest.mark.parametrize("check", [1, 2])
def test_platform(check, session):
    assert (session, check) != ("tvm-llvm", 2)
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_table(processes: str, tmp_path: Path) -> None:
    """In this process's own tests, and where others run them."""
    folder = tmp_path / "conformance"
    folder.mkdir()
    (folder / "test_kit.py").write_text(_KIT)
    command = [sys.executable, "-m", "pytest", "-n", processes, "-p", "tests.conformance.outcomes", str(folder)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if line.strip()]
    said = {words[0]: words[1] for words in lines if len(words) == 2}
    assert said["torch-cpu"] == "ran 2 checks", done.stdout + done.stderr
    assert said["tvm-llvm"] == "FAILED 1 of 2 checks"
    assert said["tvm-cuda"] == "did not run: no CUDA driver (libcuda.so.1)"
    assert said["tvm-opencl"] == "not asked for"
    assert said["tvm-c,"].split(None, 2)[-1] == "ran 2 checks"


def test_no_table_without_the_kit(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conformance.outcomes", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout
    assert "platforms" not in done.stdout
