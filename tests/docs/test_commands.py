"""Every command that a document names exists, with the options that it is given; so does what a program imports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import click
import pytest

from tapml_fuzz.cli.main import cli
from tests.docs.markdown import ROOT, commands, documents, python_blocks

# What a reader is told to run that is no module of this repository.
_OTHERS = {"venv", "pip", "pytest", "tvm.exec.rpc_server", "tvm.exec.rpc_tracker"}


def wrong(words: list[str]) -> str | None:
    """The fault of a command, given as the words after `python -m`, or None."""
    module, *arguments = words
    if module == "tapml_fuzz":
        return wrong_arguments(cli, arguments)
    if module in _OTHERS:
        return None
    return None if importlib.util.find_spec(module) else f"no module {module}"


def wrong_arguments(command: click.Command, arguments: list[str]) -> str | None:
    """The first word that a command of ours does not know: a subcommand or an option."""
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        if name == "...":
            return None
        # `corpus list|show` names several at once.
        several = [command.get_command(click.Context(command), one) for one in re.split(r"\\?\|", name)]
        if None in several:
            return f"no command {name}"
        command = several[0] or command
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = [w.strip("[],.").partition("=")[0] for w in arguments if w.strip("[").startswith("--")]
    unknown = [option for option in given if option not in known and option != "--"]
    return f"no option {unknown[0]} of {command.name}" if unknown else None


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_exists(document: Path) -> None:
    named = commands(document.read_text())
    assert [f"{' '.join(words)}: {fault}" for words in named if (fault := wrong(words))] == []


def test_a_command_that_does_not_exist_is_seen() -> None:
    text = "Try `python -m tapml_fuzz rum`, or:\n```sh\npython -m tapml_fuzz run --platfrom x\n"
    text += "python -m tapml_fuzz corpus list && python -m benchmarks.no_such_thing\n```\n"
    faults = [wrong(words) for words in commands(text)]
    assert faults == ["no option --platfrom of run", None, "no module benchmarks.no_such_thing", "no command rum"]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_of_ours_works(document: Path) -> None:
    for block in python_blocks(document.read_text()):
        try:
            tree = ast.parse(block)
        except SyntaxError:
            continue  # an outline with `...` where the reader's own goes
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tapml_fuzz", "strategies")):
                module = importlib.import_module(str(node.module))
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []
