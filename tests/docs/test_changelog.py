"""The fragments of the changelog become the next release's entry, every one of them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from tapml_fuzz import __version__
from tests.docs.markdown import ROOT

_FRAGMENTS = sorted(p for p in (ROOT / "changelog.d").glob("*.md") if p.name != "README.md")


def test_every_fragment_is_named_for_a_topic_and_a_kind() -> None:
    named = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md")
    assert [p.name for p in _FRAGMENTS if not named.fullmatch(p.name)] == []


def test_the_draft_of_a_release_lists_every_fragment() -> None:
    pytest.importorskip("towncrier", reason="the draft needs towncrier: pip install 'tapml_fuzz[test]'")
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "1.2.3", "--date", "2000-01-01"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "## 1.2.3, 2000-01-01" in done.stdout
    draft = " ".join(done.stdout.split())
    assert [p.name for p in _FRAGMENTS if " ".join(p.read_text().split()) not in draft] == []


def test_the_version_is_the_same_wherever_it_stands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", __version__) == __version__
