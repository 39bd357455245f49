"""`findings`: list and show the findings of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.options import output_option

if TYPE_CHECKING:
    from tapml_fuzz.storage.findings import FindingStore


@click.group()
def findings() -> None:
    """List and show findings, the most realistic first.

    \b
    Examples:
      python -m tapml_fuzz findings list
      python -m tapml_fuzz findings show softmax-tvm-opencl
    """


@findings.command("list", epilog="Example: python -m tapml_fuzz findings list --output nightly")
@output_option
def list_(output: Path) -> None:
    """All findings of an output directory."""
    from tapml_fuzz.reporting.formats.terminal import Terminal

    Terminal().findings(open_store(output).all())


@findings.command(epilog="Example: python -m tapml_fuzz findings show softmax-tvm-opencl")
@click.argument("id_", metavar="ID")
@output_option
def show(id_: str, output: Path) -> None:
    """One finding (an id, or a part of it that is unique): input, expected, actual, how to reproduce it."""
    from tapml_fuzz.reporting.formats.terminal import Terminal

    store = open_store(output)
    record = store.get(id_)
    Terminal().finding(record, store.evidence(record.id), output)


def open_store(output: Path) -> FindingStore:
    """The store that a run left in `output`.

    Its notes go to standard error, where no program reads the list.
    """
    from tapml_fuzz.storage.findings import FindingStore

    store = FindingStore.open(output)
    for note in store.notes:
        click.echo(note, err=True)
    return store
