"""Every relative link of a document leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.docs.markdown import FOLDERS, ROOT, anchors, documents, links, sources


def broken(document: Path, text: str) -> list[str]:
    """The links of a document's text that lead nowhere."""
    found = []
    for target in links(text):
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and anchor not in anchors(place.read_text())):
            found.append(target)
    return found


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document, document.read_text()) == []


def test_a_link_to_nothing_is_seen() -> None:
    text = "[a](gone.md), [b](README.md), [c](README.md#no-such-heading), [d](README.md#speed), `[e](code.md)`"
    assert broken(ROOT / "example.md", text) == ["gone.md", "README.md#no-such-heading"]


def test_every_document_that_is_named_exists() -> None:
    """Messages, docstrings and tables name documents by their path from the root."""
    path = re.compile(r"(?<![\w/.-])docs/[a-z0-9_/-]+\.(?:md|cl|wgsl|cu|py)\b")
    named = {(source, name) for source in sources() for name in path.findall(source.read_text())}
    missing = [f"{s.relative_to(ROOT)}: {name}" for s, name in sorted(named) if not (ROOT / name).is_file()]
    assert missing == []


def test_every_source_file_that_a_document_names_exists() -> None:
    """`session/wire.py` is any file whose path ends so; `my_platform.py` and the like are the reader's own."""
    ours = [f"/{p.relative_to(ROOT)}" for f in FOLDERS for p in (ROOT / f).rglob("*.*")]
    missing = []
    for document in documents():
        names = re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_*]+\.(?:py|js|cu|cc))`", document.read_text())
        missing += [f"{document.relative_to(ROOT)}: {n}" for n in names if not any(fnmatch(p, f"*/{n}") for p in ours)]
    assert missing == []


def test_every_document_is_found_from_the_index() -> None:
    """The index says where to find what: each document below it is linked there."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index.read_text())}
    assert [p.name for p in documents() if p.is_relative_to(index.parent) and p not in {*linked, index}] == []
