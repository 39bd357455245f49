"""The ledger of a walk, kept line by line so that a kill at any time loses at most the unit at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from tapml_fuzz.core.errors import BadOption, naming
from tapml_fuzz.core.walk_summary import ENDLESS, UnitSummary
from tapml_fuzz.storage.tensors import MALFORMED, write_atomically

FORMAT = 1
_MAX_BYTES = 64 << 20  # a bound for a file that nobody vouches for


def written(ratio: float) -> float:
    """A ratio as the ledger has it."""
    return min(ratio, ENDLESS)


class Walk(msgspec.Struct, frozen=True, tag="walk"):
    """The first line: what is moved where. Only a walk with an equal one can be resumed."""

    format: int
    model: str
    digest: str
    reference: str = msgspec.field(name="source")  # as ledgers have called it from the beginning
    target: str
    versions: dict[str, str]


class Trying(msgspec.Struct, frozen=True, tag="trying"):
    """Unit `key` is about to run in the model."""

    key: str


class Died(msgspec.Struct, frozen=True, tag="died"):
    """Whoever watches the walk saw its process end, twice, while it ran unit `key` in the model."""

    key: str
    where: Literal["crash", "hang"]
    reason: str


class UnitResult(UnitSummary, frozen=True, tag="unit"):
    """The result for one unit, as a line of the ledger."""


Line = Walk | Trying | Died | UnitResult


class Ledger:
    """The file `walk.jsonl` in a walk's output folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "walk.jsonl"
        self.results: dict[str, UnitResult] = {}
        self.deaths: dict[str, Died] = {}

    def begin(self, walk: Walk, *, resume: bool) -> bool:
        """Start anew, or go on with the walk that is there; whether it goes on.

        Raises `BadOption` when there is a walk of something else to resume. One whose versions differ is begun anew:
        another compiler has other faults.
        """
        lines = self.lines() if resume else []
        if lines and isinstance(lines[0], Walk) and _same(lines[0], walk):
            if lines[0].versions == walk.versions:
                self._replay(lines[1:])
                self._end_line()
                return True
        elif lines:
            raise BadOption(
                f"{self.path} is a walk of something else", hint="leave out --resume, or give another --output"
            )
        write_atomically(self.path, msgspec.json.encode(walk) + b"\n")
        return False

    def add(self, line: Trying | Died | UnitResult) -> None:
        """Append one line, on the disk before this returns."""
        with naming(self.path), self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if isinstance(line, UnitResult):
            self.results[line.key] = line

    def _end_line(self) -> None:
        """Cut off what a kill has left of a last line, so that the next does not continue it."""
        raw = self.path.read_bytes()
        with self.path.open("r+b") as file:
            file.truncate(raw.rfind(b"\n") + 1)

    def trying(self) -> str:
        """The unit that runs in the model, by the last whole line of the file; empty when none does."""
        try:
            raw = self.path.read_bytes()
            last = msgspec.json.decode(raw[: raw.rfind(b"\n") + 1].splitlines()[-1], type=Line)
        except (OSError, IndexError, *MALFORMED):  # none yet, or another version's
            return ""
        return last.key if isinstance(last, Trying) else ""

    def _replay(self, lines: list[Line]) -> None:
        for line in lines:
            if isinstance(line, UnitResult):
                self.results[line.key] = line
            elif isinstance(line, Died):
                self.deaths[line.key] = line

    def lines(self) -> list[Line]:
        """Every line that is whole; the last may have been cut short by a kill.

        Raises `BadOption` where a line is malformed, or the file too long to be one.
        """
        try:
            if self.path.stat().st_size > _MAX_BYTES:
                raise BadOption(f"{self.path} has more than {_MAX_BYTES} bytes", hint="leave out --resume")
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        lines: list[Line] = []
        whole = raw[: raw.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                lines.append(msgspec.json.decode(line, type=Line))
            except MALFORMED as error:
                raise BadOption(
                    f"{self.path} is malformed in line {number}: {error}", hint="leave out --resume"
                ) from None
        return lines


def _same(one: Walk, other: Walk) -> bool:
    return (one.format, one.digest, one.reference, one.target) == (
        other.format,
        other.digest,
        other.reference,
        other.target,
    )
