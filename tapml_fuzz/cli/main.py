"""The command line `python -m tapml_fuzz`: it finds the command, turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from tapml_fuzz.cli.version import print_version
from tapml_fuzz.core.errors import BadOption, MachineryFailure, SystemRefusal, TapmlFuzzError

# Imported only when used, so that `--help` answers at once: command -> (module, one line for --help).
COMMANDS = {
    "run": ("tapml_fuzz.cli.run", "Fuzz the corpus's operators on every available platform."),
    "carve": ("tapml_fuzz.cli.carve", "Record a model's operators on real text into a corpus."),
    "offload": ("tapml_fuzz.cli.offload", "Move a model, or a compiled library, to another platform step by step."),
    "platforms": ("tapml_fuzz.cli.platforms", "List platforms: which can run here, and how to get the others."),
    "corpus": ("tapml_fuzz.cli.corpus", "List, show, count and verify the seeds of a corpus."),
    "findings": ("tapml_fuzz.cli.findings", "List and show what runs have found."),
    "serve": ("tapml_fuzz.cli.serve", "Let other machines run platforms of this one, over TVM's RPC."),
    "reproduce": ("tapml_fuzz.cli.reproduce", "Run a finding again: exit 1 while it fails, 0 once it is fixed."),
}

EXIT_CODES = (
    "Exit codes: 0 nothing new found, 1 findings, 2 bad usage, 3 nothing ran or the fuzzer failed, 130 interrupted."
)


class Commands(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, whose module is imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with its line in `COMMANDS`, as a section of `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`. An unknown command fails with the closest name, or with all of them."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else f" Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the versions that a report of a bug should name.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Find the operators that an emerging ML platform computes wrongly, and the smallest realistic input for each.

    \b
    Examples:
      python -m tapml_fuzz run --budget 60s
      python -m tapml_fuzz run --platform tvm-opencl --operator '*softmax*' --budget 500trials --seed 7
      python -m tapml_fuzz findings list
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # --debug is global: it may stand anywhere.
    arguments = [a for a in arguments if a != "--debug"]
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        result: Any = cli.main(arguments, prog_name="python -m tapml_fuzz", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug and not isinstance(error, click.UsageError):
            traceback.print_exc()
        told = _told(error)
        click.echo(f"error {told.code}: {told}", err=True)
        return told.exit_code


def _told(error: Exception) -> TapmlFuzzError:
    """The error as one with a code, whoever raised it."""
    match error:
        case TapmlFuzzError():
            return error
        case click.UsageError():
            command = error.ctx.command_path if error.ctx is not None else "python -m tapml_fuzz"
            return BadOption(_one_line(error.format_message()).rstrip("."), hint=f"see {command} --help")
        case OSError() if error.filename is not None:
            return SystemRefusal.of(error)
    name = type(error).__name__
    return MachineryFailure(f"{name}: {_one_line(str(error))}", hint="run again with --debug for the traceback")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
