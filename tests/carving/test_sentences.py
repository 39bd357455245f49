"""Sentence files are read as they are meant, or refused with the line at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapml_fuzz.carving import sentences
from tapml_fuzz.core.errors import BadInputs


def test_blank_lines_marks_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "s.txt"
    path.write_bytes("\ufeffHi.\r\n\n   \n  世界 🙂\t\none\u2028line\n".encode())
    assert sentences.read(path) == ("Hi.", "世界 🙂", "one\u2028line")


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "no text"), (b" \n\n", "no text"), (b"fine\nbr\xffken\n", "line 2"), (b"a\n" * 5000, "5000 sentences")],
)
def test_unreadable_files(content: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_bytes(content)
    with pytest.raises(BadInputs, match=cause) as caught:
        sentences.read(tmp_path / "s.txt")
    assert "\n" not in str(caught.value)


def test_missing_huge_and_folder(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("missing", "huge", "."):
        with pytest.raises(BadInputs):
            sentences.read(tmp_path / name)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 56])
def test_every_sentence_runs_once(count: int) -> None:
    texts = [f"{'word ' * (i * 7 % 11)}{i}" for i in range(count)]
    batches = sentences.batches(texts)
    assert sorted(n for batch in batches for n in batch.numbers) == list(range(1, count + 1))
    assert all(texts[n - 1] == t for batch in batches for n, t in zip(batch.numbers, batch.texts, strict=True))


def test_some_run_alone_and_some_are_padded() -> None:
    batches = sentences.batches([f"{'word ' * (i * 7 % 11)}{i}" for i in range(40)])
    assert sum(len(batch.texts) == 1 for batch in batches) >= 5
    assert any(len({len(t) for t in batch.texts}) > 1 for batch in batches)


def test_script() -> None:
    assert sentences.script("Привет, world и мир") == "CYRILLIC"
    assert sentences.script("3.14 🙂") == "NONE"
