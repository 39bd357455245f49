"""`corpus`: look into a corpus and check it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapml_fuzz.cli.options import corpus_option

if TYPE_CHECKING:
    from tapml_fuzz.core.profile import Profile
    from tapml_fuzz.storage.corpus import Corpus, Entry

_BINS = 16  # of a histogram
_BAR = 40  # characters of its longest bar


@click.group(epilog="Example: python -m tapml_fuzz corpus show 'softmax*'")
def corpus() -> None:
    """Look into a corpus of recorded operator calls."""


@corpus.command("list", epilog="Example: python -m tapml_fuzz corpus list --corpus my-corpus")
@corpus_option
def list_(corpus_path: Path | None) -> None:
    """One line per operator signature."""
    opened = _open(corpus_path)
    rows = [[entry.key, str(len(entry.seed_ids)), entry.operator.describe()] for entry in opened.entries]
    _table(["key", "seeds", "operator"], rows)


@corpus.command(epilog="Example: python -m tapml_fuzz corpus show 'native_layer_norm*'")
@click.argument("key")
@corpus_option
def show(key: str, corpus_path: Path | None) -> None:
    """Profile, shapes and provenance of the operators that KEY names: a key, an operator name, or a glob."""
    from tapml_fuzz.core.errors import UnknownOperator

    opened = _open(corpus_path)
    entries = opened.match([key])
    if not entries:
        raise UnknownOperator(f"no operator {key[:80]!r} in {opened.path}", hint="`corpus list` shows what there is")
    for entry in entries:
        _show(opened, entry)


@corpus.command(epilog="Example: python -m tapml_fuzz corpus stats")
@corpus_option
def stats(corpus_path: Path | None) -> None:
    """How much a corpus holds."""
    opened = _open(corpus_path)
    numbers = opened.stats()
    _table(
        ["what", "how much"],
        [
            ["operators", str(numbers.operators)],
            ["seeds", str(numbers.seeds)],
            ["input elements", str(numbers.elements)],
            ["size on disk", f"{numbers.size / 1e6:.2f} MB"],
            ["models", ", ".join(numbers.models)],
        ],
    )


@corpus.command(epilog="Example: python -m tapml_fuzz corpus verify --corpus my-corpus")
@corpus_option
def verify(corpus_path: Path | None) -> None:
    """Read everything and check it; one line per problem, and exit code 2 when there is any."""
    from tapml_fuzz.core.errors import BadCorpus

    opened = _open(corpus_path)
    problems = opened.verify()
    for problem in problems:
        click.echo(problem)
    if problems:
        raise BadCorpus(f"{opened.path} has {len(problems)} problem{'s' * (len(problems) > 1)}")
    seeds = sum(len(entry.seed_ids) for entry in opened.entries)
    click.echo(f"ok: {len(opened.entries)} operators, {seeds} seeds")


def _open(path: Path | None) -> Corpus:
    from tapml_fuzz.storage.corpus import Corpus, default_corpus_path

    return Corpus.open(path or default_corpus_path())


def _show(opened: Corpus, entry: Entry) -> None:
    click.echo(f"{entry.key}  {entry.operator.describe()}")
    seeds = opened.seeds(entry)
    for slot, profile in enumerate(entry.profiles):
        click.echo(f"\n  tensor {slot}: {_in_words(profile)}")
        for line in _histogram([seed.tensors[slot] for seed in seeds]):
            click.echo(f"    {line}")
    click.echo(f"\n  {len(seeds)} seeds")
    for seed in seeds:
        origin = seed.provenance
        shapes = " ".join(str(list(t.shape)) for t in seed.tensors)
        full = " ".join(str(list(shape)) for shape in origin.full_shapes)
        click.echo(f"  {seed.id}  {shapes}  cut from {full}")
        place = f"{origin.module or 'top'}, node {origin.node}, {origin.device}"
        click.echo(f"    {origin.model} ({origin.weights}), {place}")
        for sentence in origin.sentences:
            click.echo(f"    sentence {sentence.number}: {sentence.text[:90]}")
    click.echo("")


def _in_words(profile: Profile) -> str:
    parts = [f"{profile.dtype}, {profile.structure}, {profile.count} elements"]
    parts.append(f"range {profile.low:.5g} to {profile.high:.5g}")
    if profile.quantiles:
        parts.append(f"median {profile.quantiles[len(profile.quantiles) // 2]:.4g}")
    if profile.zeros:
        parts.append(f"{100 * profile.zeros:.1f}% zeros")
    if profile.outlier_channels:
        parts.append(f"{100 * profile.outlier_channels:.1f}% outlier channels")
    return ", ".join(parts)


def _histogram(arrays: Sequence[Any]) -> list[str]:
    """The values of the seeds in equal bins, masked positions apart; nothing for fewer than three distinct values."""
    import numpy as np

    from tapml_fuzz.core.profile import MASKED_BELOW

    values = np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in arrays] or [np.zeros(0)])
    visible = values[np.isfinite(values) & (values > MASKED_BELOW)]
    if len(np.unique(visible)) < 3:
        return [f"{value:>12.5g}  {int((values == value).sum())}" for value in np.unique(values)]
    counts, edges = np.histogram(visible, bins=_BINS)
    lines = [
        f"{low:>12.5g}  {'#' * -(-_BAR * int(count) // int(counts.max())):<{_BAR}} {count}"
        for low, count in zip(edges, counts, strict=False)
    ]
    hidden = values.size - visible.size
    return [*lines, f"{'masked':>12}  {hidden}"] if hidden else lines


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A rich table on a terminal, aligned columns in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headers)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    for row in [headers, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
