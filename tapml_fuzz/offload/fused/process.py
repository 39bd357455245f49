"""Two libraries in a process of their own, from outside: started again when compiled code takes it down."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import msgspec

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array, to_bits
from tapml_fuzz.core.errors import BadInputs, BadLibrary, MachineryFailure
from tapml_fuzz.offload.fused import messages
from tapml_fuzz.offload.fused.messages import (
    CallFacts,
    CallStarted,
    Checked,
    OwnRun,
    Ready,
    Refusal,
    RunStopped,
    Surveyed,
)
from tapml_fuzz.platforms.session.worker_process import WorkerProcess

_MODULE = "tapml_fuzz.offload.fused.worker"
# Seconds for a process to import TVM and load two libraries: chosen for a busy machine.
_START_LIMIT_S = 120.0

R = TypeVar("R", Ready, Surveyed, Checked | RunStopped, OwnRun)


class ProcessEnded(Exception):
    """Compiled code took the process down, or did not return; `during` is the call, None where none was made."""

    def __init__(self, during: CallStarted | None, where: Literal["crash", "hang"], reason: str) -> None:
        super().__init__(reason)
        self.during, self.where, self.reason = during, where, reason


class Pair:
    """Libraries `a` and `b` with inputs for their function `main`. Use as a context manager.

    `limit` is how many seconds a call may take (with what is done around it). Nothing but the two files is loaded.

    Attributes:
        died: B's functions that took the process down by themselves, with where and why: they are not called again.
        facts: what `survey` found, of every call in order.
    """

    def __init__(self, a: Path, b: Path, main: str, inputs: Mapping[str, Array], *, limit: float = 120.0) -> None:
        for path in (a, b):
            if not path.is_file():
                raise BadLibrary(f"{path} is no file", hint="give two shared libraries that Relax has exported")
        for name, array in inputs.items():
            if array.nbytes > messages.MAX_MESSAGE:
                raise BadInputs(f"input {name} has {array.nbytes} bytes, more than {messages.MAX_MESSAGE}")
        self._job = messages.Job(str(a.resolve()), str(b.resolve()), main)
        self._inputs, self._limit = dict(inputs), limit
        self._worker: WorkerProcess | None = None
        self._connection: Connection | None = None
        self.died: dict[str, ProcessEnded] = {}
        self.facts: tuple[CallFacts, ...] = ()
        self.ready = self._started()

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and the connection to it; the next request starts another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def survey(self, skip: Sequence[str] = ()) -> tuple[CallFacts, ...]:
        """Every call of A's run, alone in both libraries; functions in `skip` are not called in B.

        Raises `BadLibrary` when A's own run fails.
        """
        skipped = [*skip]
        while True:
            try:
                self._ensure()
                reply = self._asked(messages.SurveyRequest(tuple(skipped)), Surveyed)
            except ProcessEnded as ended:
                if ended.during is None or ended.during.whose == "A":
                    name = "it" if ended.during is None else ended.during.name
                    raise BadLibrary(f"{Path(self._job.a).name} itself does not run: {name}: {ended.reason}") from None
                self.died[ended.during.name] = ended
                if ended.during.whose != "B" or ended.during.name in skipped:
                    raise BadLibrary(
                        f"{Path(self._job.a).name}'s {ended.during.name} does not survive other inputs of its shapes: "
                        f"{ended.reason}"
                    ) from None
                skipped.append(ended.during.name)
                continue
            self.facts = reply.calls
            return self.facts

    def check(self, moved: Sequence[str]) -> Checked | RunStopped:
        """A's run with the functions in `moved` taken from B, beside A's own. Raises `ProcessEnded`."""
        self._again()
        return self._asked(messages.CheckRequest(tuple(moved)), Checked | RunStopped)  # type: ignore[arg-type]

    def own(self) -> OwnRun:
        """B's `main` as it is. Raises `ProcessEnded`."""
        self._again()
        return self._asked(messages.OwnRequest(), OwnRun)

    def _again(self) -> None:
        """A process that has made its survey."""
        if self._worker is None:
            self.survey([fact.name for fact in self.facts if fact.seen == "skipped"])

    def _ensure(self) -> None:
        if self._worker is None:
            self._started()
        self._give()

    def _started(self) -> Ready:
        self._worker = WorkerProcess(msgspec.json.encode(self._job).decode(), _MODULE)
        self._connection = Connection(os.dup(self._worker.channel.fileno()))
        try:
            ready = self._answer(Ready, max(_START_LIMIT_S, self._limit))
        except ProcessEnded as ended:
            raise BadLibrary(f"loading the libraries fails: {ended.reason}") from None
        missing = [name for name in ready.parameters if name not in self._inputs]
        if missing:
            self.close()
            raise BadInputs(
                f"no input for {', '.join(missing)}", hint=f"{self._job.main} takes {', '.join(ready.parameters)}"
            )
        return ready

    def _give(self) -> None:
        assert self._connection is not None
        for name, array in self._inputs.items():
            given = messages.Given(name, dtypes.name_of(array), tuple(array.shape))
            self._send(messages.encoded(given))
            self._send(to_bits(array).tobytes())

    def _asked(self, request: messages.Request, kind: type[R]) -> R:
        self._send(messages.encoded(request))
        return self._answer(kind)

    def _send(self, raw: bytes) -> None:
        assert self._connection is not None
        try:
            self._connection.send_bytes(raw)
        except OSError:
            raise self._ended(None) from None

    def _answer(self, kind: type[R], limit: float | None = None) -> R:
        """The next reply that is no news of progress; raises `ProcessEnded`, or `BadLibrary` for a refusal."""
        assert self._connection is not None
        limit = limit or self._limit
        during: CallStarted | None = None
        while True:
            try:
                if not self._connection.poll(limit):
                    self.close()
                    raise ProcessEnded(during, "hang", f"it does not return within {limit:g} s")
                reply = messages.reply(self._connection.recv_bytes(messages.MAX_MESSAGE))
            except (EOFError, OSError):
                raise self._ended(during) from None
            if isinstance(reply, CallStarted):
                during = reply
            elif isinstance(reply, Refusal):
                self.close()
                raise BadLibrary(reply.reason)
            elif isinstance(reply, kind):
                return reply
            else:
                raise MachineryFailure(f"the libraries' process answers {type(reply).__name__}")

    def _ended(self, during: CallStarted | None) -> ProcessEnded:
        assert self._worker is not None
        crash = self._worker.crash()
        self.close()
        words = crash.stderr.strip().splitlines()
        how = f"signal {-crash.exit_code}" if crash.exit_code < 0 else f"exit {crash.exit_code}"
        said = f": {words[-1][:200]}" if words and crash.exit_code > 0 else ""
        return ProcessEnded(during, "crash", f"it ends the process ({how}{said})")
