"""The selection that a command line asks for, checked before anything that takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tapml_fuzz.core.errors import UnknownOperator
from tapml_fuzz.platforms.registry import location
from tapml_fuzz.storage.corpus import Corpus, Entry, default_corpus_path


def select_platforms(names: Sequence[str]) -> None:
    """Check the names of platforms. Raises what `platforms.registry.location` raises for the first that is none."""
    for name in names:
        location(name)


def select_operators(corpus_path: Path | None, globs: Sequence[str]) -> tuple[Corpus, tuple[Entry, ...]]:
    """The corpus and those of its entries that match the globs (none: all).

    Raises `UnknownOperator` when there is none, `BadCorpus` when the corpus cannot be read.
    """
    corpus = Corpus.open(corpus_path or default_corpus_path())
    entries = corpus.match(globs) if globs else corpus.entries
    if not entries:
        wanted = ", ".join(globs) or "any operator"
        raise UnknownOperator(
            f"{corpus.path} has nothing that matches {wanted}", hint="`corpus list` shows what it has"
        )
    return corpus, tuple(entries)
