"""`corpus`: what the shipped corpus shows in a pipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.cli.corpus import _histogram
from tests.cli.conftest import Command


def test_list_has_a_line_per_operator(command: Command) -> None:
    done = command("corpus", "list")
    heading, *lines = done.out.splitlines()
    assert heading.split() == ["key", "seeds", "operator"]
    assert len(lines) >= 20
    assert any(line.startswith("tanh-") and "aten.tanh.default(float32" in line for line in lines)


def test_show_has_profile_values_and_origin(command: Command) -> None:
    done = command("corpus", "show", "tanh")
    assert done.code == 0
    assert "tensor 0: float32" in done.out
    assert "#" in done.out
    assert "cut from [" in done.out
    assert "sentence " in done.out
    none = command("corpus", "show", "absent")
    assert (none.code, none.out) == (2, "")
    assert "error E101: no operator 'absent'" in none.err


def test_stats_and_verify(command: Command) -> None:
    stats = dict(line.split("  ", 1) for line in command("corpus", "stats").out.splitlines())
    assert int(stats["operators"]) >= 20
    assert command("corpus", "verify").out.startswith("ok: ")


@pytest.mark.parametrize("verb", [["list"], ["show", "tanh"], ["stats"], ["verify"]])
def test_an_absent_corpus_is_one_line(verb: list[str], command: Command, tmp_path: Path) -> None:
    done = command("corpus", *verb, "--corpus", tmp_path / "absent")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error E201: no corpus at ")


def test_histograms_keep_masked_values_apart() -> None:
    values = np.array([0.0, 1.0, 1.0, 2.0, -3e38], np.float32)
    lines = _histogram([values])
    assert lines[-1].split() == ["masked", "1"]
    assert sum(int(line.split()[-1]) for line in lines) == 5
    assert [line.split() for line in _histogram([np.array([True, True, False])])] == [["0", "1"], ["1", "2"]]
