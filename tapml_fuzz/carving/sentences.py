"""Sentences: what a model is fed, and in which batches."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tapml_fuzz.core.errors import BadInputs

# Carving 56 sentences takes 40 s (corpus/README.md), so 4,096 take most of an hour: more is a mistake.
MAX_FILE_BYTES = 8 << 20
MAX_SENTENCES = 4096
# Small batches of several sizes, since the batch axis is cut to two anyway; every fourth sentence has no padding.
_BATCH_SIZES = (5, 3, 4)
_ALONE_EVERY = 4


@dataclass(frozen=True)
class Batch:
    """Sentences that run together; `numbers` count the sentences of the file from 1."""

    numbers: tuple[int, ...]
    texts: tuple[str, ...]

    @property
    def label(self) -> str:
        """The batch as people read of it: `"sentences 3, 7"`."""
        return f"sentence{'s' if len(self.numbers) > 1 else ''} {', '.join(map(str, self.numbers))}"


def read(path: Path) -> tuple[str, ...]:
    """One text per line, UTF-8, blank lines ignored; raises `BadInputs` naming the line at fault."""
    try:
        if not path.is_file():
            raise BadInputs(f"{path} is no file", hint="give a text file with one sentence per line")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise BadInputs(f"{path} has {size} bytes, more than {MAX_FILE_BYTES}", hint="split it")
        raw = path.read_bytes()
    except OSError as error:
        raise BadInputs(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadInputs(f"{path} is not UTF-8 in line {line}", hint="save it as UTF-8") from None
    # Only a newline ends a line here: other separators of Unicode may well be part of a text.
    sentences = tuple(line.strip() for line in text.split("\n") if line.strip())
    if not sentences:
        raise BadInputs(f"{path} holds no text", hint="write one sentence per line")
    if len(sentences) > MAX_SENTENCES:
        raise BadInputs(f"{path} holds {len(sentences)} sentences, more than {MAX_SENTENCES}", hint="split it")
    return sentences


def batches(sentences: Sequence[str]) -> tuple[Batch, ...]:
    """Every sentence once: the extremes and every fourth alone (no padding), the rest in small batches as they come.

    A batch of neighbours mixes lengths, so all but its longest sentence are padded.
    """
    lengths = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    alone = {lengths[0], lengths[-1], *range(0, len(sentences), _ALONE_EVERY)}
    together = [i for i in range(len(sentences)) if i not in alone]
    groups = [[i] for i in sorted(alone)]
    while together:
        size = _BATCH_SIZES[len(groups) % len(_BATCH_SIZES)]
        groups.append(together[:size])
        together = together[size:]
    return tuple(Batch(tuple(i + 1 for i in g), tuple(sentences[i] for i in g)) for g in groups)


def script(text: str) -> str:
    """The script most letters of a text are in (`LATIN`, `CJK`, `ARABIC`, ...), or `NONE` where it has no letters."""
    names = [unicodedata.name(c, "NONE").split(" ")[0] for c in text if c.isalpha()]
    return max(sorted(set(names)), key=names.count) if names else "NONE"
