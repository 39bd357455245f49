"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

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
    help="Directory of findings; running again adds to it.",
)
