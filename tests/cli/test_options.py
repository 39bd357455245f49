"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tapml_fuzz.cli.options import json_option, order_option, output_option, resume_option
from tapml_fuzz.core.errors import BadOption


def given(*arguments: str, stdout: bool = False) -> Path | None:
    """The path that `--json` gives a command."""
    seen: list[Path | None] = []

    @click.command()
    @json_option(stdout=stdout)
    def command(json_path: Path | None) -> None:
        seen.append(json_path)

    CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    (path,) = seen
    return path


def test_json_goes_to_a_file_in_a_folder_that_exists(tmp_path: Path) -> None:
    assert given() is None
    assert given("--json", str(tmp_path / "new.json")) == tmp_path / "new.json"
    assert given("--json", "here.json") == Path("here.json")
    for path in (tmp_path, tmp_path / "absent" / "x.json"):
        with pytest.raises(BadOption, match="cannot be written"):
            given("--json", str(path))


def test_only_a_command_that_says_so_writes_to_standard_output() -> None:
    assert given("--json", "-", stdout=True) == Path("-")
    with pytest.raises(BadOption, match="--json - cannot be written"):
        given("--json", "-")


def test_what_the_others_are_when_they_are_not_given() -> None:
    seen: list[object] = []

    @click.command()
    @order_option
    @resume_option
    @output_option
    def command(order: str, resume: bool, output: Path) -> None:
        seen.extend((order, resume, output))

    CliRunner().invoke(command, [], catch_exceptions=False)
    assert seen == ["common", False, Path("tapml-fuzz-results")]
