"""`--version`: what a report of a bug should name, at once; and the package's own version, from one place."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import tapml_fuzz
from tapml_fuzz.cli import version

ROOT = Path(__file__).parents[2]


def test_version_stands_in_one_place_that_the_build_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    module, name = project["tool"]["setuptools"]["dynamic"]["version"]["attr"].rsplit(".", 1)
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    values = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign) and _named(node, name)]
    # Literal, so that the build need not import the package and all that it stands on.
    assert [ast.literal_eval(value) for value in values] == [tapml_fuzz.__version__]


def test_version_names_what_a_report_needs_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from tapml_fuzz.cli.main import _run; code = _run(['--version'], False)\n"
        "print([m for m in ('torch', 'numpy', 'tvm', 'onnx', 'hypothesis') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *lines, last = done.stdout.splitlines()
    assert first == f"tapml_fuzz {tapml_fuzz.__version__}"
    versions = dict(line.split(" ", 1) for line in lines)
    assert list(versions)[:2] == ["python", "system"]
    assert {"torch", "numpy", "hypothesis", "apache-tvm", "onnx"} <= set(versions)
    assert versions["torch"] == metadata.version("torch")
    assert last == "[] 0"


def test_what_is_not_installed_is_said_of_requirements_and_left_out_of_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "versions_of", lambda names: {"numpy": "2.4.6", "wgpu": "0.32.0"})
    lines = version.version_text().splitlines()
    assert "numpy 2.4.6" in lines
    assert "torch not installed" in lines
    assert lines[-1] == "wgpu 0.32.0"
    assert not [line for line in lines if line.startswith("onnxruntime")]


def test_public_names_are_imported_when_they_are_asked_for() -> None:
    program = "import sys, tapml_fuzz; print('torch' in sys.modules, tapml_fuzz.Report.__name__, *dir(tapml_fuzz))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False Report ")
    assert set(tapml_fuzz.__all__) <= set(done.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tapml_fuzz.nonsense  # noqa: B018


def _named(node: ast.Assign, name: str) -> bool:
    return [target.id for target in node.targets if isinstance(target, ast.Name)] == [name]
