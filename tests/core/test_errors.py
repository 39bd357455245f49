"""Every error has a code of its own, which docs/reference/errors.md lists, and one line says what to do."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tapml_fuzz.core import errors
from tapml_fuzz.core.errors import OracleFailure, SystemRefusal, TapmlFuzzError, naming

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "errors.md"

_EVERY_CLASS = """
import importlib, json, pkgutil, warnings
warnings.simplefilter("ignore")
import tapml_fuzz
for module in pkgutil.walk_packages(tapml_fuzz.__path__, "tapml_fuzz."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError:  # an optional package is not installed
            pass
from tapml_fuzz.core.errors import TapmlFuzzError
found, rest = [], [TapmlFuzzError]
while rest:
    below = rest.pop().__subclasses__()
    found += [(c.code, c.__module__, c.__name__, c.exit_code, "code" in vars(c)) for c in below]
    rest += below
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def classes() -> list[tuple[str, str, str, int, bool]]:
    """Code, module, name, exit code and whether the code is its own, of every error, after importing every module."""
    done = subprocess.run([sys.executable, "-c", _EVERY_CLASS], capture_output=True, text=True, cwd=ROOT, check=True)
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


def test_every_error_has_a_code_of_its_own_and_stands_in_one_file(
    classes: list[tuple[str, str, str, int, bool]],
) -> None:
    assert len(classes) > 15
    codes = [code for code, *_ in classes]
    assert len(codes) == len(set(codes))
    for code, module, name, exit_code, own in classes:
        assert own, name
        assert module == errors.__name__, name
        assert re.fullmatch(r"E[1-9]\d\d", code), name
        assert exit_code in (2, 3), name
        assert getattr(errors, name).__doc__, name


def test_the_page_lists_every_code_and_no_other(classes: list[tuple[str, str, str, int, bool]]) -> None:
    rows = re.findall(r"^\| (E\d\d\d) \| `(\w+)` \| (.+?) \| (\d) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {(code, name, int(exit_code)) for code, name, _, exit_code, _ in rows} == {
        (code, name, exit_code) for code, _, name, exit_code, _ in classes
    }
    assert PAGE.read_text().count("\n| E") == len(rows)


def test_codes_that_texts_name_exist(classes: list[tuple[str, str, str, int, bool]]) -> None:
    known = {code for code, *_ in classes} | {TapmlFuzzError.code}
    texts = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("tapml_fuzz/**/*.py")]
    for path in texts:
        named = set(re.findall(r"\bE\d{3}\b(?![,\]])", re.sub(r"# noqa.*", "", path.read_text())))
        assert named <= known, path


def test_a_refusal_names_the_path_and_what_mends_it() -> None:
    full = SystemRefusal.of(OSError(errno.ENOSPC, "No space left on device", "/results/report.json"))
    assert str(full) == (
        "/results/report.json: No space left on device (make room there, or choose a folder on another disk)"
    )
    assert "make it writable" in str(SystemRefusal.of(PermissionError(errno.EACCES, "Permission denied", "/r")))
    assert "--debug" in str(SystemRefusal.of(OSError(errno.EIO, "Input/output error", "/r")))


def test_an_error_without_a_path_gets_that_of_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, naming(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.filename == str(tmp_path / "x")


def test_a_failure_of_the_oracle_is_one_with_the_errors_name() -> None:
    assert str(OracleFailure(ValueError("no axis"))) == "the oracle failed: ValueError: no axis"
