"""Connections to a TVM RPC server, directly or by way of a tracker, made within seconds or not at all."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from tapml_fuzz.platforms.address import Address, endpoint
from tapml_fuzz.platforms.base import MachineUnreachable
from tapml_fuzz.platforms.remote.tracker import Tracker, TrackerError

# Before each further try; a supervisor that starts a server anew takes about a second.
_PAUSES_S = (0.0, 0.3, 0.7, 1.5)
_TCP_S = 3.0  # for a connection and no more: an answer from across the world takes a third of a second
# A session begins after the server has imported TVM, and a server of TVM's own takes one client at a time. Less than a
# worker is given to start (`WorkerSession`), so that the reason is told.
_SESSION_S = 100.0
_TRACKER_S = 10.0  # a tracker answers at once, or waits for a server to be free


def connect(address: Address) -> Any:
    """A `tvm.rpc.RPCSession` with a server; raises `MachineUnreachable` after a few tries.

    TVM is imported once one answers.
    """
    for pause in _PAUSES_S:
        time.sleep(pause)
        try:
            return _session(*_server(address))
        except _Busy:
            raise
        except MachineUnreachable as error:
            failure = error
    raise failure


class _Busy(MachineUnreachable):
    """A server that takes connections but begins no session: asking again only makes the queue longer."""


def _server(address: Address) -> tuple[str, int, str]:
    """Host, port and handshake key of a server that takes connections."""
    host, port, key = address.host, address.port, address.key
    if address.scheme == "tracker":
        try:
            tracker = Tracker((host, port), _TRACKER_S)
        except TrackerError as error:
            raise MachineUnreachable(str(error)) from error
        try:
            return tracker.request(key)
        except TrackerError as error:
            raise MachineUnreachable(f"no device {key}: {error}") from error
        finally:
            tracker.close()
    try:
        socket.create_connection((host, port), timeout=_TCP_S).close()  # before the second that TVM takes to import
    except OSError as error:
        raise MachineUnreachable(f"nothing answers at {endpoint(host, port)}: {error.strerror or error}") from error
    return host, port, key


def _session(host: str, port: int, key: str) -> Any:
    """A session with the server. Raises `MachineUnreachable`, or `_Busy` after `_SESSION_S` seconds.

    TVM's own connect has no deadline, so it runs in a thread that is left behind when it takes too long.
    """
    from tvm import rpc

    made: list[Any] = []
    failed: list[Exception] = []

    def begin() -> None:
        try:
            made.append(rpc.connect(host, port, key))
        except Exception as error:  # TVM raises many types
            failed.append(error)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    thread.join(_SESSION_S)
    if made:
        return made[0]
    where = endpoint(host, port)
    if failed:
        said = str(failed[0]).strip().splitlines() or [type(failed[0]).__name__]
        raise MachineUnreachable(f"no session with {where}: {said[-1][:200]}")
    raise _Busy(f"no session with {where} within {_SESSION_S:g} s: it is busy with another client, or stuck")
