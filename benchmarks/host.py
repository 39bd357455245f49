"""What a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Extras of tools, which compute nothing: what else such an extra names, others name as well.
_TOOLS = ("test", "dev")
# What an extra of a requirement brings and is not named itself: `pyopencl[pocl]`.
_BROUGHT = ("pocl-binary-distribution",)


def versions() -> dict[str, str]:
    """Of everything that computes: whatever is installed of this project's requirements, every platform's included."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in (*dict.fromkeys(_required()), *_BROUGHT):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _required() -> Iterator[str]:
    """The names of the distributions that pyproject.toml requires, those of its extras included."""
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    lists = [project["dependencies"], *(listed for name, listed in extras if name not in _TOOLS)]
    for requirement in (line for listed in lists for line in listed):
        named = re.match(r"[\w.-]+", requirement)
        assert named is not None, requirement
        if named[0] != project["name"]:
            yield named[0]


def processor() -> str:
    """The processor's model and how many of its cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {os.cpu_count()} cores"
