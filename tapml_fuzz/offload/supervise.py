"""Watching over a walk from another process: what takes the walk's process down costs one unit, not the walk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tapml_fuzz.core import lifeline
from tapml_fuzz.core.errors import MachineryFailure
from tapml_fuzz.offload.ledger import Died, Ledger

# Exit codes with which a walk ends by itself (see the command line's).
_ENDS = (0, 1, 2, 3, 130)
_POLL_S = 0.2  # seconds, little beside the limit of a unit


def supervise(
    first: Sequence[str],
    again: Sequence[str],
    ledger: Ledger,
    *,
    limit: float,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Run the command `first` to its end, and `again` after it has died; its exit code.

    Both are programs that call `lifeline.hold`: a walk that outlived its supervisor would write to the ledger beside
    the one that resumes it.
    A unit that ends the process twice, or keeps it for longer than `limit` seconds twice, is noted as dead in the
    ledger, where the walk finds it. Raises `MachineryFailure` when the process dies twice and no unit was running.
    """
    seen: dict[str, int] = {}
    command = first
    while True:
        code, hung = _watched(command, ledger, limit)
        if code in _ENDS and not hung:
            return code
        key = ledger.trying()
        seen[key] = seen.get(key, 0) + 1
        told = f"it does not end within {limit:g} s" if hung else f"it ends the process ({_named(code)})"
        say(f"{key or 'the walk'}: {told}; {'going on' if seen[key] > 1 else 'once more'}")
        if seen[key] > 1:
            if not key:
                raise MachineryFailure("the walk's process dies between units", hint="run again with --debug")
            ledger.add(Died(key, "hang" if hung else "crash", f"in the model {told}"))
        command = again


def _watched(command: Sequence[str], ledger: Ledger, limit: float) -> tuple[int, bool]:
    """The exit code, and whether the process was killed because one unit had kept it too long."""
    child = lifeline.started(command)
    try:
        since, running = time.monotonic(), ""
        while child.poll() is None:
            time.sleep(_POLL_S)
            key = ledger.trying()
            if key != running:
                since, running = time.monotonic(), key
            if running and time.monotonic() - since > limit:
                child.kill()
                return child.wait(), True
        return child.returncode, False
    except KeyboardInterrupt:
        child.wait()  # it was interrupted as well
        return 130, False
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _named(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"
