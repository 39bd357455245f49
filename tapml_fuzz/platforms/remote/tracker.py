"""A client of TVM's RPC tracker, as far as a client and a server of TVM's RPC need it: JSON behind its length.

It has what `tvm.rpc.client.TrackerSession` lacks, a deadline for every step. Codes and order of messages as in
`tvm/rpc/base.py` and `tvm/rpc/tracker.py`.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from typing import Any

# As in tvm/rpc/base.py: RPC_TRACKER_MAGIC and TrackerCode.
_MAGIC = 0x2F271
_SUCCESS, _PUT, _REQUEST, _UPDATE_INFO, _PENDING = 0, 3, 4, 5, 7
_MAX_MESSAGE = 1 << 20  # bytes, as in the tracker itself
_INT = struct.Struct("<i")


class TrackerError(Exception):
    """An error for a tracker that cannot be reached, does not answer in time, or is none."""


class Tracker:
    """A connection to the tracker at `address` (host, port).

    Making one and every call wait for `seconds` at most, and raise `TrackerError`.
    """

    def __init__(self, address: tuple[str, int], seconds: float) -> None:
        self._where = f"tracker at {address[0]}:{address[1]}"
        self._seconds = seconds
        try:
            self._socket = socket.create_connection(address, timeout=seconds)
        except OSError as error:
            raise TrackerError(f"cannot connect to the {self._where}: {error}") from error
        self._socket.settimeout(seconds)
        try:
            self._socket.sendall(_INT.pack(_MAGIC))
            answer = self._exactly(4)
        except OSError as error:
            self.close()
            raise self._silent(error) from error
        if _INT.unpack(answer)[0] != _MAGIC:
            self.close()
            raise TrackerError(f"what listens there is no tracker: {self._where}")

    def request(self, key: str) -> tuple[str, int, str]:
        """Host, port and handshake key of a free server of `key`; waits for one to be free."""
        code, found = self._ask([_REQUEST, key, "", 1], 2)
        if code != _SUCCESS:
            raise TrackerError(f"the {self._where} refuses {key}")
        host, port, match = found
        return str(host), int(port), str(match)

    def introduce(self, key: str, port: int) -> None:
        """Tell the tracker which server this is: its key and the port on which it listens."""
        self._ask([_UPDATE_INFO, {"key": f"server:{key}", "addr": [None, port]}])

    def offer(self, key: str, port: int, match: str) -> None:
        """Offer one session to whoever asks next; the tracker takes the host from this connection."""
        self._ask([_PUT, key, [port, match], None])

    def pending(self) -> list[str]:
        """Handshake keys of offers that nobody has taken."""
        return [str(match) for match in self._ask([_PENDING])]

    def close(self) -> None:
        """Close the connection; the tracker then forgets its offers."""
        self._socket.close()

    def _ask(self, message: Any, length: int | None = None) -> Any:
        data = json.dumps(message).encode()
        try:
            self._socket.sendall(_INT.pack(len(data)) + data)
            size = _INT.unpack(self._exactly(4))[0]
            if not 0 < size <= _MAX_MESSAGE:
                raise TrackerError(f"the {self._where} announces {size} bytes")
            answer = json.loads(self._exactly(size))
        except (OSError, ValueError) as error:
            raise self._silent(error) from error
        if length is not None and not (isinstance(answer, list) and len(answer) == length):
            raise TrackerError(f"the {self._where} answers {str(answer)[:80]}")
        return answer

    def _exactly(self, count: int) -> bytes:
        data = b""
        deadline = time.monotonic() + self._seconds
        while len(data) < count:
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise OSError("connection closed")
            data += chunk
        return data

    def _silent(self, error: Exception) -> TrackerError:
        what = "no free device in time" if isinstance(error, TimeoutError) else str(error)
        return TrackerError(f"the {self._where} gives no answer: {what}")


def new_match(key: str) -> str:
    """A handshake key for one session, in TVM's form."""
    return f"{key}:{random.random()}"
