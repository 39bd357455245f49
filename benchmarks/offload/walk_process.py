"""One walk in a process of its own: started or resumed, stopped with all that it started, and read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.offload.walk_table import figures, unfinished
from tapml_fuzz.reporting.formats.json import model_walk_summary

_SENTENCES = Path(__file__).resolve().parents[2] / "corpus" / "sentences" / "english_and_more.txt"
_NUMBER = re.compile(r"^ *\d+/(\d+) ", re.MULTILINE)  # as the command says what became of a unit
_FAREWELL_S = 10.0
_WRITTEN = ("offload.json", "walk.jsonl", "said.txt")  # by a walk as it goes on


@dataclass(frozen=True)
class Job:
    """A walk that is wanted: MODEL from `reference` to `target`, its files in `folder`; `more` are options of it."""

    model: str
    reference: str
    target: str
    folder: Path
    more: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{Path(self.model).name} {self.target}"

    def arguments(self) -> list[str]:
        own = ["offload", "model", self.model, "--inputs", str(_SENTENCES)]
        own += ["--from", self.reference, "--to", self.target]
        return [*own, *self.more, "--output", str(self.folder)]

    def runs(self) -> list[float]:
        """Seconds of each run so far of this very walk; none when `folder` has none, or another's.

        A run that outlived whoever started it, so that nobody saw it end, has lasted until it last wrote something.
        """
        try:
            before = json.loads((self.folder / "runs.json").read_text())
        except FileNotFoundError:
            return []
        if before["arguments"] != self.arguments():
            return []
        if before.get("began") is None:
            return list(before["seconds"])
        written = [path.stat().st_mtime for path in map(self.folder.joinpath, _WRITTEN) if path.is_file()]
        return [*before["seconds"], round(max(0.0, *written, before["began"]) - before["began"], 1)]

    def ended(self) -> bool:
        """Whether an earlier run of this very walk got to its end."""
        return bool(self.runs()) and (self.folder / "offload.json").is_file()

    def row(self, error: str) -> dict[str, Any]:
        """The walk's figures; `error` says why it did not end and is left out where it did."""
        seconds = self.runs()
        row: dict[str, Any] = {"model": Path(self.model).name, "source": self.reference, "platform": self.target}
        row.update(wall_s=round(sum(seconds), 1), runs=len(seconds))
        if self.ended():
            return {**row, **figures(model_walk_summary((self.folder / "offload.json").read_bytes()))}
        return {**row, "units": self.total(), **unfinished(self.folder), "error": error}

    def total(self) -> int:
        """How many units the walk has, by what it said last; 0 when it has not yet said."""
        numbers = _NUMBER.findall(self.said())
        return int(numbers[-1]) if numbers else 0

    def said(self) -> str:
        try:
            return (self.folder / "said.txt").read_text(errors="replace")
        except FileNotFoundError:
            return ""


@dataclass
class Running:
    """A job whose process has started; with what an earlier run of it left, it resumes."""

    job: Job
    _began: float = field(init=False)
    _before: list[float] = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        job = self.job
        job.folder.mkdir(parents=True, exist_ok=True)
        self._before = job.runs()
        (job.folder / "offload.json").unlink(missing_ok=True)
        resume = ["--resume"] if self._before else []
        self._began = time.monotonic()
        self._keep(self._before, began=time.time())  # whatever is killed can then be resumed
        with (job.folder / "said.txt").open("a" if resume else "w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tapml_fuzz", *job.arguments(), *resume],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # so that its group is its own, to be stopped as one
            )

    @property
    def done(self) -> bool:
        return self._process.poll() is not None

    def progress(self) -> str:
        return f"{self.job.text} {unfinished(self.job.folder)['settled']}/{self.job.total() or '?'}"

    def finish(self) -> dict[str, Any]:
        """The row of a walk whose process has ended by itself."""
        code = self._process.wait()
        self._ended()
        last = "".join(self.job.said().strip().splitlines()[-1:])
        return self.job.row(f"killed by signal {-code}; {last}" if code < 0 else f"exit {code}; {last}")

    def stop(self, why: str) -> dict[str, Any]:
        """Terminate the walk, its workers too, which are sessions of their own; its row."""
        family = descendants(self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in family:  # a worker that computes does not see that nobody listens any more
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended()
        return self.job.row(why)

    def _ended(self) -> None:
        self._keep([*self._before, round(time.monotonic() - self._began, 1)])

    def _keep(self, seconds: list[float], began: float | None = None) -> None:
        """Write what `Job.runs` reads; `began`, since the epoch, while a run has no end yet."""
        facts = {"arguments": self.job.arguments(), "seconds": seconds, "began": began}
        (self.job.folder / "runs.json").write_text(json.dumps(facts) + "\n")


def descendants(pid: int) -> list[int]:
    """Ids of every process that `pid` started, and those started."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, row.split())) for row in listed.splitlines()]
    found = [pid]
    for parent in found:  # grows as it is read
        found += [child for child, of in pairs if of == parent]
    return found[1:]
