"""`run`: fuzz operators on platforms, the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapml_fuzz.cli.options import DEFAULT_OUTPUT, corpus_option, json_option, output_option

if TYPE_CHECKING:
    from tapml_fuzz.core.summary import RunSummary
    from tapml_fuzz.engine.budget import Budget


@click.command()
@corpus_option
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME|user:...",
    help="Candidate (repeatable; default: all that can run here and are not on request only, see `platforms`), or your "
    "own: user:FILE, user:MODULE:CALLABLE (docs/reference/kernel-headers.md).",
)
@click.option("--operator", "operators", multiple=True, metavar="GLOB", help="Operators by name, short name or key.")
@click.option("--budget", default="60s", show_default=True, metavar="60s|500trials", help="When to stop.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed and trials, same cases.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Operators fuzzed at a time.")
@output_option
@json_option(stdout=True)
def run(
    corpus_path: Path | None,
    platforms: tuple[str, ...],
    operators: tuple[str, ...],
    budget: str,
    seed: int,
    workers: int,
    output: Path,
    json_path: Path | None,
) -> int:
    """Fuzz operators of the corpus on candidate platforms against the reference platform.

    Recorded inputs are replayed first, then Hypothesis mutates them around what was observed. Failures are reduced
    and kept in --output with a script and a pytest file each.

    \b
    Examples:
      python -m tapml_fuzz run
      python -m tapml_fuzz run --platform tvm-llvm --operator 'softmax*' --budget 500trials --seed 7
      python -m tapml_fuzz run --platform user:docs/kernels/softmax.cl
      python -m tapml_fuzz run --budget 10m --output nightly --json nightly.json
    """
    from tapml_fuzz.cli.selection import select_operators, select_platforms
    from tapml_fuzz.engine.budget import Budget

    # What is wrong with the command is said before torch and Hypothesis, which take seconds, are imported.
    parsed = Budget.parse(budget)
    select_platforms(platforms)
    corpus, entries = select_operators(corpus_path, operators)

    from tapml_fuzz.campaign.run import CampaignOptions
    from tapml_fuzz.cli.campaign import conduct, load_seed_sets
    from tapml_fuzz.reporting.files import write_json
    from tapml_fuzz.reporting.formats.json import as_json
    from tapml_fuzz.reporting.formats.terminal import Terminal

    options = CampaignOptions(parsed, seed=seed, workers=workers)
    to_stdout = json_path is not None and str(json_path) == "-"
    terminal = Terminal(sys.stderr if to_stdout else sys.stdout)
    summary = conduct(load_seed_sets(corpus, entries), platforms, options, output, terminal)
    if to_stdout:
        click.echo(as_json(summary))
    elif json_path is not None:
        write_json(json_path, summary)
    where = "" if output == DEFAULT_OUTPUT else f" --output {output}"
    terminal.say(f"report: {output / 'report.md'}; look at findings: python -m tapml_fuzz findings list{where}")
    return exit_code(summary, parsed)


def exit_code(summary: RunSummary, budget: Budget) -> int:
    """The exit code: 130 interrupted, 1 for a new finding that is not permitted, else 0.

    Raises `NothingRan` where nothing says anything about any platform.
    """
    from tapml_fuzz.campaign.summing import why_nothing_ran
    from tapml_fuzz.core.errors import NothingRan

    if summary.interrupted:
        return 130
    why, hint = why_nothing_ran(summary, budget)
    if why:
        raise NothingRan(f"nothing ran, so nothing is known of any platform: {why}", hint=hint)
    return 1 if any(f.new and f.kind != "permitted" for f in summary.findings) else 0
