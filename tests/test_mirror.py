"""The tests mirror the packages: every module has a test file of its own name, or a row that says what covers it.

`tapml_fuzz/a/b/c.py` is tested by `tests/a/b/test_c.py` and `strategies/x.py` by `tests/strategies/test_x.py`.
`tests/mirror.toml` has a row for every module whose tests are elsewhere.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Packages' own files hold a docstring and the names that they pass on.
_OF_PACKAGES = "__init__.py"


def modules(root: Path) -> list[str]:
    """Paths of all modules of both packages, relative to `root`."""
    found = [path for package in ("tapml_fuzz", "strategies") for path in (root / package).rglob("*.py")]
    return sorted(path.relative_to(root).as_posix() for path in found if path.name != _OF_PACKAGES)


def namesake(module: str) -> str:
    """The test file in the mirrored place."""
    path = Path(module)
    folders = path.parent.parts[1:] if path.parts[0] == "tapml_fuzz" else path.parent.parts
    return Path("tests", *folders, f"test_{path.name}").as_posix()


def complaints(root: Path) -> list[str]:
    """One line for every module without a test file, and for every row that says nothing true or nothing needed."""
    rows: dict[str, str] = tomllib.loads((root / "tests" / "mirror.toml").read_text())["covered"]
    known = modules(root)
    found = []
    for module in known:
        alone = (root / namesake(module)).is_file()
        if not alone and module not in rows:
            found.append(f"{module}: neither {namesake(module)} nor a row in tests/mirror.toml")
        elif alone and module in rows:
            found.append(f"{module}: {namesake(module)} is there, so its row in tests/mirror.toml is not needed")
    found += [f"{module}: in tests/mirror.toml, but there is no such module" for module in rows if module not in known]
    found += [f"{module}: {test} is no test file" for module, test in rows.items() if not _is_test(root / test)]
    return found


def _is_test(path: Path) -> bool:
    return path.is_file() and path.name.startswith("test_") and path.suffix == ".py"


def test_every_module_has_its_test_file_or_a_row() -> None:
    assert complaints(ROOT) == []


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("tapml_fuzz/judge.py", "tests/test_judge.py"),
        ("tapml_fuzz/platforms/session/wire.py", "tests/platforms/session/test_wire.py"),
        ("strategies/values.py", "tests/strategies/test_values.py"),
    ],
)
def test_places_are_mirrored(module: str, test: str) -> None:
    assert namesake(module) == test


def test_what_is_missing_stale_or_wrong_is_told(tmp_path: Path) -> None:
    for name in (
        "tapml_fuzz/__init__.py",
        "tapml_fuzz/a.py",
        "tapml_fuzz/b/c.py",
        "strategies/d.py",
        "strategies/e.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tests = tmp_path / "tests"
    (tests / "strategies").mkdir(parents=True)
    (tests / "test_a.py").touch()
    (tests / "strategies" / "test_d.py").touch()
    table = tests / "mirror.toml"
    right = '"tapml_fuzz/b/c.py" = "tests/test_a.py"\n"strategies/e.py" = "tests/test_a.py"\n'
    table.write_text(f"[covered]\n{right}")
    assert complaints(tmp_path) == []
    table.write_text("[covered]\n")
    assert [line.split(":")[0] for line in complaints(tmp_path)] == ["strategies/e.py", "tapml_fuzz/b/c.py"]
    for row, said in {
        '"tapml_fuzz/gone.py" = "tests/test_a.py"': "there is no such module",
        '"strategies/d.py" = "tests/test_a.py"': "is not needed",
    }.items():
        table.write_text(f"[covered]\n{right}{row}\n")
        assert len(complaints(tmp_path)) == 1
        assert said in complaints(tmp_path)[0]
    for test in ("tests/test_gone.py", "tests/mirror.toml", "tests"):
        table.write_text(f'[covered]\n"strategies/e.py" = "{test}"\n"tapml_fuzz/b/c.py" = "tests/test_a.py"\n')
        assert complaints(tmp_path) == [f"strategies/e.py: {test} is no test file"]
