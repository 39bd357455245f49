"""`offload`: two commands, and what to write instead of the form without one."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command


def test_help_lists_the_model_first(command: Command) -> None:
    done = command("offload", "--help")
    commands = done.out[done.out.index("Commands:") :]
    assert commands.index("model ") < commands.index("libraries ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["m", "--inputs", "x.txt", "--to", "tvm-llvm"], "offload model m --inputs x.txt --to tvm-llvm"),
        (["a dir", "--to=tvm-llvm"], "offload model 'a dir' --to=tvm-llvm"),
        (["--inputs", "x.txt", "m", "--to", "tvm-llvm"], "offload model --inputs x.txt m --to tvm-llvm"),
        (["a.so", "b.so", "--inputs", "x"], "offload libraries a.so b.so --inputs x"),
        (["a.so", "b.so"], "offload libraries a.so b.so"),
    ],
)
def test_the_form_without_a_command_says_what_to_write(old: list[str], new: str, command: Command) -> None:
    done = command("offload", *old)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error E204: offload takes one of its commands first, model or libraries, not ")
    assert done.err.endswith(f"(write: {new})\n")
    assert done.err.count("\n") == 1
