"""What a command line asks for is checked by names alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapml_fuzz.cli.selection import select_operators, select_platforms
from tapml_fuzz.core.errors import BadCorpus, UnknownOperator, UnknownPlatform


def test_operators_are_selected_by_globs() -> None:
    corpus, every = select_operators(None, [])
    assert every == corpus.entries
    _, some = select_operators(None, ["tanh", "softmax*"])
    assert {entry.operator.short_name for entry in some} == {"tanh", "softmax"}
    with pytest.raises(UnknownOperator, match=r"nothing that matches none, neither"):
        select_operators(None, ["none", "neither"])


def test_an_absent_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadCorpus, match="no corpus at"):
        select_operators(tmp_path / "absent", [])


def test_platforms_are_known_by_name() -> None:
    select_platforms([])
    select_platforms(["torch-cpu", "tvm-llvm"])
    with pytest.raises(UnknownPlatform, match="did you mean tvm-llvm"):
        select_platforms(["torch-cpu", "tvm-lllvm"])
