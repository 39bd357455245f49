"""The absence of a machine that stopped answering: the reason, and when it is worth another try."""

from __future__ import annotations

import time

# A try costs a process that imports numpy and fails to connect, or TVM too if it succeeds. The pause doubles up to the
# longest, so that a machine that is back is not left alone for long.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 15.0


class Absence:
    """A machine that does not answer.

    Attributes:
        reason: the last one heard, in words.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._pause = _FIRST_PAUSE_S
        self._retry_at = 0.0

    @property
    def due(self) -> bool:
        """Whether to try again now."""
        return time.monotonic() >= self._retry_at

    def again(self, reason: str) -> None:
        """Note that a try has failed: the next one is due after a pause, which doubles each time up to 15 seconds."""
        self.reason = reason
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
