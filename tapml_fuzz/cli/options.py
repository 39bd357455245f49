"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tapml_fuzz.core.errors import BadOption

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_OUTPUT = Path("tapml-fuzz-results")

corpus_option = click.option(
    "--corpus",
    "corpus_path",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Corpus to use (default: the one shipped).",
)
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUTPUT,
    show_default=True,
    metavar="DIR",
    help="Directory of a run's results; another run adds to it.",
)
order_option = click.option(
    "--order",
    default="common",
    show_default=True,
    metavar="common|graph|GLOB,...",
    help="What moves first: what has many cheap calls, what the model runs first, or what the globs match.",
)
resume_option = click.option("--resume", is_flag=True, help="Go on with the walk in --output.")


def json_option(*, stdout: bool) -> Callable[[F], F]:
    """The option `--json FILE`; where `stdout`, FILE may be `-`.

    Whether a file can be there is said before the work, not after it: raises `BadOption`.
    """

    def writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is None or (stdout and str(path) == "-"):
            return path
        if str(path) == "-" or path.is_dir() or not path.parent.is_dir():
            raise BadOption(f"--json {path} cannot be written", hint="give a file in a folder that exists")
        return path

    return click.option(
        "--json",
        "json_path",
        type=click.Path(path_type=Path),
        default=None,
        metavar="FILE",
        callback=writable,
        help=f"Write the summary here too{' (- for standard output)' if stdout else ''}.",
    )
