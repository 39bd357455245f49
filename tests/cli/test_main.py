"""The command line as a whole: every command helps with examples, and every error is one line with a code."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from tapml_fuzz.cli import main as module
from tapml_fuzz.cli.main import COMMANDS, cli
from tapml_fuzz.core.errors import BadCorpus, NothingRan
from tests.cli.conftest import Command


def paths_of(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group by the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        yield (*before, name)
        if isinstance(inner, click.Group):
            yield from paths_of(inner, (*before, name))


EVERY_COMMAND = list(paths_of(cli))


@pytest.mark.parametrize("path", [(), *EVERY_COMMAND], ids=" ".join)
def test_help_has_examples(path: tuple[str, ...], command: Command) -> None:
    done = command(*path, "--help")
    assert (done.code, done.err) == (0, "")
    name = " ".join(("python -m tapml_fuzz", *path))
    assert "Example" in done.out
    assert done.out.count(name) > 1, "an example is of the command itself"


@pytest.mark.parametrize("path", EVERY_COMMAND, ids=" ".join)
def test_an_unknown_option_is_one_line(path: tuple[str, ...], command: Command) -> None:
    done = command(*path, "--nonsense")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error E204: ")
    assert "--nonsense" in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["frobnicate"], "error E204: No such command 'frobnicate'. Commands: run, carve, "),
        (["platfroms"], "error E204: No such command 'platfroms'. Did you mean platforms? (see python"),
        (["reproduce"], "error E204: Missing argument 'ID' (see python -m tapml_fuzz reproduce --help)"),
        (["run", "--seed", "-1"], "error E204: Invalid value for '--seed': -1 is not in the range x>=0"),
        (["corpus", "show"], "error E204: Missing argument 'KEY' (see python -m tapml_fuzz corpus show --help)"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line_that_says_where_to_look(arguments: list[str], line: str, command: Command) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_no_command_at_all_shows_the_help(command: Command) -> None:
    done = command()
    assert done.code == 0
    assert all(name in done.out for name in COMMANDS)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, command: Command) -> Callable[..., tuple[int, str]]:
    """The exit code and line of a command that raises."""

    def run(error: BaseException, *options: str) -> tuple[int, str]:
        @click.command()
        def fail() -> None:
            raise error

        fake = ModuleType("failing")
        fake.fail = fail  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing", fake)
        monkeypatch.setattr(module, "COMMANDS", {"fail": ("failing", "fails")})
        done = command("fail", *options)
        return done.code, done.err.lstrip()

    return run


def test_errors_say_code_cause_and_hint_and_end_with_their_exit_code(failing: Callable[..., tuple[int, str]]) -> None:
    assert failing(BadCorpus("no corpus", hint="carve one")) == (2, "error E201: no corpus (carve one)\n")
    assert failing(NothingRan("nothing ran")) == (3, "error E303: nothing ran\n")
    assert failing(KeyboardInterrupt()) == (130, "interrupted\n")
    assert failing(BrokenPipeError()) == (0, "")


def test_a_full_disk_and_a_folder_that_cannot_be_written_name_the_path(
    failing: Callable[..., tuple[int, str]],
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "out/report.json")
    line = (
        "error E901: out/report.json: No space left on device (make room there, or choose a folder on another disk)\n"
    )
    assert failing(full) == (3, line)
    locked = PermissionError(errno.EROFS, "Read-only file system", "out")
    line = "error E901: out: Read-only file system (make it writable, or choose another folder)\n"
    assert failing(locked) == (3, line)


def test_what_nobody_foresaw_is_one_line_too(failing: Callable[..., tuple[int, str]]) -> None:
    hint = "(run again with --debug for the traceback)"
    assert failing(ValueError("one\ntwo")) == (3, f"error E900: ValueError: one two {hint}\n")
    assert failing(TimeoutError("no answer")) == (3, f"error E900: TimeoutError: no answer {hint}\n")
    code, text = failing(ValueError("one"), "--debug")
    assert code == 3
    assert text.startswith("Traceback")
    assert text.endswith(f"error E900: ValueError: one {hint}\n")


_HEAVY = ("torch", "tvm", "numpy", "hypothesis", "rich", "scipy", "safetensors", "transformers")


@pytest.mark.parametrize("path", [(), *EVERY_COMMAND], ids=" ".join)
def test_help_imports_nothing_heavy(path: tuple[str, ...]) -> None:
    program = (
        "import sys; from tapml_fuzz.cli.main import _run; _run(sys.argv[1:], False)\n"
        f"print([m for m in {_HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *path, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_every_file_of_the_command_line_has_a_file_of_tests() -> None:
    files = {path.stem for path in Path(module.__file__).parent.glob("*.py")} - {"__init__"}
    assert {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")} == files
