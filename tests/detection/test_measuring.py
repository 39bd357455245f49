"""The figures themselves: recall and its intervals, resuming, baselines that work, reports that can be read."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.detection import methods, rows, statistics, work
from benchmarks.detection.baselines import RULES, made_up
from benchmarks.detection.model import Control, Subject
from benchmarks.detection.outcome import Outcome
from benchmarks.detection.plot import plot
from benchmarks.detection.rows import Row

pytestmark = pytest.mark.filterwarnings("ignore")


def row(seed: int, first: int | None, name: str = "softmax without maximum", method: str = "ours") -> Row:
    return Row(method, "fault", name, seed, "trials", 500, 1.0, int(first is not None), first, first and first / 100)


def test_recall_is_the_mean_over_seeds_with_its_interval() -> None:
    seen = [row(0, 3), row(0, 40, "b"), row(1, 3), row(1, None, "b")]
    centre, low, high = statistics.recall(seen, statistics.within(50))
    assert centre == 0.75
    assert (low, high) == (0.0, 1.0)
    assert statistics.recall(seen, statistics.within(10))[0] == 0.5
    assert statistics.recall([row(0, 3)], statistics.within(10)) == (1.0, pytest.approx(0.2065, abs=1e-3), 1.0)
    assert math.isnan(statistics.recall([], statistics.within(10))[0])


def test_what_is_not_found_is_infinitely_late() -> None:
    assert statistics.middle([1, 5, None]) == 5
    assert statistics.middle([1, None, None]) == math.inf
    assert statistics.missed([row(0, 3), row(1, None), row(0, 9, "b")], 500) == {"softmax without maximum": 0.5}


def test_half_of_the_controls_is_held_out() -> None:
    names = list(work.controls())
    assert abs(sum(map(statistics.held_out, names)) - len(names) / 2) <= 1


def test_rows_go_on_where_a_kill_cut_them_short(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    rows.append(path, [row(0, 3), row(1, None)])
    path.write_bytes(path.read_bytes()[:-9])
    assert [r.key for r in rows.load(path)] == [row(0, 3).key]
    rows.append(path, [row(1, None)])
    assert list(rows.load(tmp_path / "none")) == []


def test_plot_is_an_svg_and_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    seen = [row(s, f, n, m) for m in ("ours", "normal") for s in (0, 1) for n, f in (("a", 3), ("b", None))]
    for name in ("one.svg", "two.svg"):
        plot(seen, 500, tmp_path / name)
    first = (tmp_path / "one.svg").read_bytes()
    assert first == (tmp_path / "two.svg").read_bytes()
    assert ElementTree.fromstring(first).tag.endswith("svg")


def _examples() -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 48, generator=generator),) for n in (5, 8)]


SUBJECT = Subject("doubled rows", "testing", lambda x: x * 2, _examples)
LIMITS = work.Limits(trials=30, seconds=20)


def by(method: str, function: object, **options: object) -> Outcome:
    control = Control("doubled", "doubled rows", function, **options)  # type: ignore[arg-type]
    return methods.METHODS[method].run(control, SUBJECT, LIMITS, 0)


@pytest.mark.parametrize("method", [rule.name for rule in RULES])
def test_every_rule_finds_a_gross_fault_and_passes_what_is_right(method: str) -> None:
    assert by(method, lambda x: x * 2 + 5).failures
    assert by(method, lambda x: x[:1]).failures
    assert by(method, lambda x: (x.float() + x.float()).to(x.dtype), dtypes=("", "float16")).failures == 0


def test_rules_differ_as_they_should() -> None:
    assert by("replay", lambda x: x * 2 + 0.5).failures == 0  # atol 1 hides it
    assert by("normal", lambda x: x * 2 + 0.5).failures
    assert by("normal", lambda x: torch.where(x.isnan(), 0, x * 2)).failures == 0
    assert by("specials", lambda x: torch.where(x.isnan(), 0, x * 2)).failures
    assert by("rmse", lambda x: x * 2 * (1 + 1e-6)).failures
    assert by("uniform", lambda x: x * 2 * (1 + 1e-6)).failures == 0


def test_made_up_inputs_have_the_recorded_shapes_and_nothing_else() -> None:
    real = methods.recorded(SUBJECT)
    made = made_up(real, np.random.default_rng(0))
    assert [t.shape for (t,) in made] == [seed.tensors[0].shape for seed in real.seeds]
    assert not np.array_equal(made[0][0], real.seeds[0].tensors[0])


def test_a_baseline_draws_the_same_in_every_process() -> None:
    program = (
        "import numpy as np\n"
        "from benchmarks.detection.baselines import uniform_at_boundaries\n"
        "from tapml_fuzz.storage.corpus import Corpus, default_corpus_path\n"
        "from tapml_fuzz.strategies.seed_set import seed_set_of\n"
        "corpus = Corpus.open(default_corpus_path())\n"
        "source = seed_set_of(corpus, corpus.match(['addmm*'])[0])\n"
        "cases = uniform_at_boundaries(source, ('',), np.random.default_rng(0))\n"
        "print([sorted(next(cases).sizes.items()) for _ in range(5)])\n"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashing}, capture_output=True, text=True, check=True,
        ).stdout
        for hashing in ("1", "2", "3")
    }  # fmt: skip
    assert len(drawn) == 1, drawn


def test_methods_are_compared_on_the_same_faults() -> None:
    listed = list(work.tasks(work.FULL, ["ours", "normal"]))
    tried = {m: {t.name for t in listed if t.method == m and t.what == "fault"} for m in ("ours", "normal")}
    assert tried["normal"] < tried["ours"]
    assert all(len(t.seeds) == 10 for t in listed if t.what == "fault" and t.mode == "trials")
