"""Where modules and data lie: one top-level name, `tapml_fuzz`, in a checkout as in an installed copy."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tapml_fuzz.platforms.session.worker_process import environment
from tapml_fuzz.storage.corpus import Corpus, default_corpus_path

ROOT = Path(__file__).parents[2]
OURS_AT_THE_TOP = ("strategies", "corpus")


@pytest.mark.parametrize("name", OURS_AT_THE_TOP)
def test_the_package_holds_a_link_to_the_folder_at_the_top(name: str) -> None:
    link = ROOT / "tapml_fuzz" / name
    assert link.is_symlink(), f"git made no link of {link}: set core.symlinks=true and check it out again"
    assert link.readlink() == Path("..") / name
    assert link.resolve() == ROOT / name


def test_a_checkout_that_is_not_installed_finds_its_strategies() -> None:
    program = (
        "import importlib.util, sys; sys.path.insert(0, sys.argv[1]); "
        "print(importlib.util.find_spec('tapml_fuzz.strategies').origin)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(ROOT)], capture_output=True, text=True)
    assert done.stdout.strip() == str(ROOT / "tapml_fuzz/strategies/__init__.py"), done.stderr


def test_nothing_imports_a_module_under_a_second_name() -> None:
    folders = ("tapml_fuzz", "strategies", "benchmarks", "tests")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 300
    assert [(path.name, name) for path in sources for name in imported(path) if is_at_the_top(name)] == []


def test_no_document_shows_an_import_of_a_second_name() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "strategies").rglob("*.py")]
    wrong = re.compile(r"(^|`)\s*(from|import) (strategies|corpus)\b", re.MULTILINE)
    assert [path.name for path in texts if wrong.search(path.read_text(encoding="utf-8"))] == []


def test_the_corpus_and_its_sentences_are_found_beside_the_modules() -> None:
    path = default_corpus_path()
    assert path == ROOT / "corpus"
    assert Corpus.open(path).entries
    assert (path / "sentences" / "english_and_more.txt").is_file()


def test_workers_import_the_package_that_started_them() -> None:
    first = Path(environment()["PYTHONPATH"].split(os.pathsep)[0])
    assert first == ROOT
    assert not (first / "judge.py").exists(), "the package's own modules would be top-level names in a worker"


def test_extras_that_hints_and_documents_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [ROOT / "README.md", ROOT / "pyproject.toml", *(ROOT / "docs").rglob("*.md")]
    texts += (ROOT / "tapml_fuzz").rglob("*.py")
    named = {
        extra
        for path in texts
        for group in re.findall(r"tapml_fuzz\[([a-z_, ]+)\]", path.read_text(encoding="utf-8"))
        for extra in group.replace(" ", "").split(",")
    }
    assert named
    assert named <= set(extras)


def imported(path: Path) -> list[str]:
    """The modules that a file imports by an absolute name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
    return found


def is_at_the_top(name: str) -> bool:
    """Whether a module's name begins with a folder that is installed inside `tapml_fuzz` only."""
    return name.split(".")[0] in OURS_AT_THE_TOP
