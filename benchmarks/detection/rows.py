"""The raw results, one row a run, and the file they are appended to, so that a benchmark that was stopped goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["fault", "twin", "control"]
Mode = Literal["trials", "seconds", "realistic"]


class Row(msgspec.Struct, frozen=True):
    """One run of one method on one implementation.

    Attributes:
        method, what, name, seed, mode: which run; `mode` says what limited it; in
            `realistic` runs of that many trials only failures on inputs as a model has them count.
        trials, seconds, failures: how far it got; `first_*`: the first failure, trials counted from 1.
        realisms: failures by realism class; ratios: `r` of the passing trials of a correct implementation.
        case: what the first failure ran on; message: what was said of it.
    """

    method: str
    what: What
    name: str
    seed: int
    mode: Mode
    trials: int
    seconds: float
    failures: int
    first_trial: int | None = None
    first_seconds: float | None = None
    kind: str = ""
    realism: str = ""
    message: str = ""
    case: str = ""
    realisms: dict[str, int] = {}
    ratios: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        return self.method, self.what, self.name, self.seed, self.mode


def append(path: Path, rows: list[Row]) -> None:
    """Add rows at the end of a file of JSON lines."""
    with path.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def load(path: Path) -> Iterator[Row]:
    """The rows of a file, none if there is no such file; a last line cut short by a kill is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            yield msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError:
            continue
