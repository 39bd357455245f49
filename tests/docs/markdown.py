"""The Markdown files of the repository, and what they link to and tell a reader to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("tapml_fuzz", "strategies", "tests", "benchmarks", "docs", "corpus", "changelog.d")
_UNREAD = {".venv", "node_modules", ".pytest_cache", "tapml-fuzz-results", "build", "dist"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file of the repository, but for what a run or an installation left there."""
    return sorted(p for p in ROOT.rglob("*.md") if not _UNREAD.intersection(p.relative_to(ROOT).parts))


def sources() -> list[Path]:
    """Every file of the repository in which a path of a document may stand: Python, Markdown and the like."""
    found = [p for folder in FOLDERS for kind in ("*.py", "*.md", "*.wgsl") for p in (ROOT / folder).rglob(kind)]
    return sorted(found) + sorted(ROOT.glob("*.md")) + [ROOT / "pyproject.toml", ROOT / ".ci" / "run"]


def links(text: str) -> Iterator[str]:
    """The targets of the links in a document that lead to files or headings of the repository."""
    prose = _INLINE.sub("", _FENCE.sub("", text))
    return (target for target in _LINK.findall(prose) if "://" not in target and not target.startswith("mailto:"))


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as code hosts make them: lower case, hyphens, no punctuation."""
    titles = (re.sub(r"[`*]", "", title).strip().lower() for title in _HEADING.findall(_FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """Every `python -m MODULE ...` of a document, in its code blocks and in its prose, as the words after `-m`."""
    lines = [line for _, block in _FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    spans = [" ".join(span.split()) for span in _INLINE.findall(_FENCE.sub("", text))]
    for line in [*lines, *spans]:
        for part in re.split(r"&&|\||\s#\s|;", line):
            _, found, rest = part.partition("python -m ")
            if found and rest.split():
                yield rest.split()


def python_blocks(text: str) -> list[str]:
    """The Python programs in a document."""
    return [block for language, block in _FENCE.findall(text) if language == "python"]
