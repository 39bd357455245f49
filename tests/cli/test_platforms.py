"""The `platforms` command: every known platform is listed, and a pipe gets plain text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapml_fuzz.cli import platforms as command
from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.registry import known, on_request

_INFOS = [
    Info("here", True, device="a device", versions={"lib": "1.2"}, capabilities=Capabilities(("float32",))),
    Info("absent", False, "no driver", "pip install 'tapml_fuzz[absent]'"),
]


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "probe", lambda: _INFOS)


@pytest.mark.usefixtures("probed")
def test_table_says_how_to_get_what_is_missing() -> None:
    result = CliRunner().invoke(command.platforms)
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert "here yes a device float32 lib 1.2" in words
    assert "pip install" in words
    assert "tapml_fuzz[absent]" in words
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("probed")
def test_json_goes_to_standard_output_or_a_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(command.platforms, ["--json", "-"])
    listed = json.loads(result.output)["platforms"]
    assert [(p["name"], p["available"]) for p in listed] == [("here", True), ("absent", False)]
    assert listed[1]["hint"] == "pip install 'tapml_fuzz[absent]'"
    CliRunner().invoke(command.platforms, ["--json", str(tmp_path / "p.json")])
    assert json.loads((tmp_path / "p.json").read_text())["platforms"] == listed


def test_one_on_request_only_says_so_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Info("tvm-c", True, device="a compiler", versions={}, capabilities=Capabilities(("float32",)))
    monkeypatch.setattr(command, "probe", lambda: [*_INFOS, slow])
    words = " ".join(CliRunner().invoke(command.platforms).output.split())
    assert f"a compiler; on request only: {on_request()['tvm-c']}" in words
    assert "a device; on request" not in words
    listed = json.loads(CliRunner().invoke(command.platforms, ["--json", "-"]).output)["platforms"]
    assert [p["on_request"] for p in listed] == ["", "", on_request()["tvm-c"]]


@pytest.mark.usefixtures("probed")
def test_unwritable_file_is_one_line() -> None:
    result = CliRunner().invoke(command.platforms, ["--json", "/no/such/folder/p.json"])
    assert isinstance(result.exception, BadOption)
    assert "/no/such/folder/p.json" in str(result.exception)


def test_all_known_platforms_are_probed_without_heavy_imports() -> None:
    reproducer = (
        "import sys; from tapml_fuzz.cli.platforms import probe\n"
        "print([info.name for info in probe()])\n"
        "print([name for name in ('torch', 'tvm', 'pyopencl', 'wgpu') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", reproducer], capture_output=True, text=True, timeout=120, check=True)
    names, heavy = run.stdout.splitlines()
    assert names == str(list(known()))
    assert heavy == "[]"
