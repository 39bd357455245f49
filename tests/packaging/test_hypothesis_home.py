"""Hypothesis, driven by this package, leaves nothing in the user's folder and the user's own settings as they were."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import configuration
from hypothesis.configuration import set_hypothesis_home_dir

from tapml_fuzz import check
from tapml_fuzz.engine.hypothesis_home import own_hypothesis_home

ROOT = Path(__file__).parents[2]

# Says whether Hypothesis has run: otherwise a folder without its files shows nothing.
WATCHED = """
import atexit
from tapml_fuzz.engine import fuzzer

explore, runs = fuzzer.explore, []
fuzzer.explore = lambda *given, **named: runs.append(given) or explore(*given, **named)
atexit.register(lambda: print("Hypothesis ran" if runs else "Hypothesis did not run"))
"""
# More trials than there are enumerated recipes, so that Hypothesis draws some.
CHECK = f"""{WATCHED}
import torch
import tapml_fuzz

print(tapml_fuzz.check("aten.tanh.default", torch.tanh, inputs=[torch.ones(4)], budget="240trials"))
"""


def home() -> Path | None:
    return getattr(configuration, "__hypothesis_home_directory")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/tapml-fuzz/hypothesis"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> object:
    """A home of the user's own, and Hypothesis's as it was afterwards."""
    before = home()
    set_hypothesis_home_dir(tmp_path / "mine")
    yield tmp_path / "mine"
    set_hypothesis_home_dir(before)


def test_check_leaves_nothing_in_the_folder_it_runs_in(elsewhere: Path, cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=elsewhere, capture_output=True, text=True)
    assert "ok after" in done.stdout, done.stderr
    assert "Hypothesis ran" in done.stdout
    assert list(elsewhere.iterdir()) == []


def test_run_leaves_nothing_but_its_results(elsewhere: Path, cache: Path) -> None:
    arguments = ["run", "--operator", "unsqueeze-b334a120", "--platform", "tvm-llvm", "--budget", "180trials"]
    program = f"{WATCHED}\nfrom tapml_fuzz.cli.main import main\nmain({arguments!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["tapml-fuzz-results"]
    assert list(elsewhere.rglob(".hypothesis")) == []
    assert "Hypothesis ran" in done.stdout


def test_home_of_the_users_own_is_put_back(mine: Path, cache: Path) -> None:
    seen: list[Path | None] = []

    def tanh(x: torch.Tensor) -> torch.Tensor:
        seen.append(home())
        return torch.tanh(x)

    assert check("aten.tanh.default", tanh, inputs=[torch.ones(4)], budget="240trials").ok
    assert set(seen) == {mine, cache}, "outside of Hypothesis's runs and inside"
    assert home() == mine
    assert not mine.exists()


def test_home_is_put_back_after_an_error(mine: Path, cache: Path) -> None:
    @own_hypothesis_home()
    def fails() -> None:
        assert home() == cache
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert home() == mine


def test_runs_at_once_put_back_what_was_before_the_first(mine: Path, cache: Path) -> None:
    started, ended = threading.Event(), threading.Event()

    def first() -> None:
        with own_hypothesis_home():
            started.set()
            ended.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    started.wait(10)
    with own_hypothesis_home():
        ended.set()
        thread.join()
        assert home() == cache
    assert home() == mine


def test_without_a_cache_folder_nothing_is_kept(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=elsewhere, capture_output=True, text=True)
    assert "ok after" in done.stdout, done.stderr
    assert list(elsewhere.iterdir()) == []


def test_only_one_module_lets_hypothesis_run() -> None:
    sources = [path for path in (ROOT / "tapml_fuzz").rglob("*.py") if "from hypothesis" in path.read_text()]
    assert {path.name for path in sources} - {"layouts.py", "recipes.py"} == {"explore.py", "hypothesis_home.py"}
