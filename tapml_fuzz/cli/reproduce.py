"""`reproduce`: run a finding again."""

from __future__ import annotations

from pathlib import Path

import click

from tapml_fuzz.cli.findings import open_store
from tapml_fuzz.cli.options import output_option


@click.command()
@click.argument("id_", metavar="ID")
@output_option
def reproduce(id_: str, output: Path) -> int:
    """Run the case of a finding again on its platform: exit 1 while it still fails, 0 once it is fixed.

    \b
    Example:
      python -m tapml_fuzz reproduce softmax-tvm-opencl
    """
    store = open_store(output)
    record = store.get(id_)

    from tapml_fuzz.api.replay import replay_case

    replayed = replay_case(record.platform, store.evidence(record.id).case, record.reference)
    if replayed.reference != record.reference:
        click.echo(f"against {replayed.reference}, since {record.reference} cannot run here")
    verdict = replayed.verdict
    if verdict.kind is None:
        click.echo(f"{record.id}: no longer fails ({verdict.message or 'within the error bound'})")
        return 0
    if not verdict.failed:
        click.echo(f"{record.id}: still differs, and is permitted: {verdict.message}")
        return 0
    click.echo(f"{record.id}: still fails: {verdict.kind}: {verdict.message}")
    return 1
