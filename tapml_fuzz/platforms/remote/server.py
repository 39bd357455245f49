"""A TVM RPC server that outlives its sessions: it takes connections, and a process of its own serves each.

TVM's server (`tvm.rpc.server`) forks for each client, serves one at a time, and its listener ends when a session
crashes. Here several clients are served at once, a session that crashes or hangs costs that session, and a client
that hangs up frees the device within seconds. The handshake is that of `tvm/rpc/server.py`: magic number, key.
No part of it reads pickled data; this process imports no TVM.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from tapml_fuzz.core import lifeline
from tapml_fuzz.platforms.address import endpoint
from tapml_fuzz.platforms.remote.tracker import Tracker, TrackerError, new_match
from tapml_fuzz.platforms.session.worker_process import environment

_MAGIC, _MISMATCH = 0xFF271, 0xFF271 + 2  # as in tvm/rpc/base.py: RPC_MAGIC, RPC_CODE_MISMATCH
_INT = struct.Struct("<i")
_MAX_KEY = 1024  # bytes
_HANDSHAKE_S = 10.0  # a client sends its key right after connecting
# What a session may still do after its client has hung up, before it is killed.
_GRACE_S = 3.0
SESSIONS = 32  # at a time; each is a process with TVM in it, some 200 MB
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
# Seconds that the tracker has to answer, between two questions whether it is there, and between tries when it is not.
_TRACKER_S = 10.0
_PING_S = 2.0
_LONGEST_PAUSE_S = 10.0

log = logging.getLogger("tapml_fuzz.serve")


def listening(host: str, port: int, port_end: int) -> socket.socket:
    """A socket that listens on the first free port of `port` to `port_end`; raises `OSError` when none is."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    for candidate in range(port, port_end + 1):
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, candidate))
            made.listen(SESSIONS)
            return made
        except OSError:
            made.close()
            if candidate == port_end:
                raise
    raise OSError(f"no port in {port} to {port_end}")


@dataclass
class RpcServer:
    """A server on the socket `listener`; `tracker` is the address of the tracker that offers it under `key`.

    Without a tracker a client must name `key` (empty: none) in its address.
    """

    listener: socket.socket
    key: str = ""
    tracker: tuple[str, int] | None = None
    _keys: dict[str, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sessions: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _offer: threading.Event = field(default_factory=threading.Event)
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(SESSIONS))

    @property
    def port(self) -> int:
        """The TCP port of the listening socket."""
        return int(self.listener.getsockname()[1])

    def register(self) -> None:
        """Offer this server at the tracker, and keep doing so. Raises `TrackerError` if that fails the first time."""
        assert self.tracker is not None
        connection = self._offered(self.tracker)
        threading.Thread(target=self._stay_registered, args=(self.tracker, connection), daemon=True).start()

    def run(self) -> None:
        """Take connections until an exception (Ctrl-C) ends it; every session ends with it."""
        try:
            while True:
                connection, peer = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection, endpoint(*peer[:2])), daemon=True).start()
        finally:
            self.listener.close()
            for process in list(self._sessions.values()):
                process.kill()
            deadline = time.monotonic() + _GRACE_S
            while self._sessions and time.monotonic() < deadline:  # their folders are removed meanwhile
                time.sleep(0.02)

    def _serve(self, connection: socket.socket, peer: str) -> None:
        """Serve one connection, from its handshake to the end of its process."""
        if not self._places.acquire(blocking=False):
            log.warning("%s: turned away, %d sessions are open", peer, SESSIONS)
            connection.close()
            return
        try:
            with connection:
                if self._greeted(connection, peer):
                    self._session(connection, peer)
        except OSError as error:
            log.info("%s: %s", peer, error)
        finally:
            self._places.release()

    def _greeted(self, connection: socket.socket, peer: str) -> bool:
        """TVM's handshake: whether the client speaks the protocol and knows the key."""
        connection.settimeout(_HANDSHAKE_S)
        head = _exactly(connection, 8)
        if head is None:
            return False  # a look whether anybody is here
        magic, length = struct.unpack("<ii", head)
        if magic != _MAGIC or not 0 <= length <= _MAX_KEY:
            log.warning("%s: not a TVM RPC client", peer)
            return False
        words = (_exactly(connection, length) or b"").decode(errors="replace").split()
        if not self._knows(words[0] if words else ""):
            log.warning("%s: wrong key", peer)
            connection.sendall(_INT.pack(_MISMATCH))
            return False
        name = f"server:{self.key}".encode()
        connection.sendall(_INT.pack(_MAGIC) + _INT.pack(len(name)) + name)
        connection.settimeout(None)
        return True

    def _knows(self, word: str) -> bool:
        if self.tracker is None:
            return word == f"client:{self.key}"
        with self._lock:
            match = word.removeprefix("client:")
            if match not in self._keys:
                return False
            del self._keys[match]
        self._offer.set()  # there is room for another client
        return True

    def _session(self, connection: socket.socket, peer: str) -> None:
        """Run a process that serves the client, until it ends or its client has hung up."""
        with tempfile.TemporaryDirectory(prefix="tapml-fuzz-rpc-", ignore_cleanup_errors=True) as folder:
            ours, theirs = os.pipe()  # its end says that the process has ended
            descriptor = connection.fileno()
            process = lifeline.started(
                [sys.executable, "-m", "tapml_fuzz.platforms.remote.session", str(descriptor), folder],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor, theirs],
                start_new_session=True,
                env=environment(),
            )
            os.close(theirs)
            self._sessions[process.pid] = process
            log.info("%s: session %d begins", peer, process.pid)
            try:
                _wait(ours, connection)
            finally:
                process.kill()
                status = process.wait()
                del self._sessions[process.pid]
                os.close(ours)
            if status in (0, -signal.SIGKILL):
                log.info("%s: session %d ended", peer, process.pid)
            else:
                log.warning("%s: session %d ended with status %d", peer, process.pid, status)

    def _offered(self, address: tuple[str, int]) -> Tracker:
        connection = Tracker(address, _TRACKER_S)
        try:
            connection.introduce(self.key, self.port)
            self._put(connection)
        except TrackerError:
            connection.close()
            raise
        return connection

    def _put(self, connection: Tracker) -> None:
        match = new_match(self.key)
        with self._lock:
            self._keys[match] = None
            while len(self._keys) > SESSIONS:  # handed to clients that never came
                del self._keys[next(iter(self._keys))]
        connection.offer(self.key, self.port, match)

    def _stay_registered(self, address: tuple[str, int], connection: Tracker | None) -> None:
        """Offer again what was taken; register anew when the tracker was restarted."""
        pause, taken = 1.0, 0
        while True:
            try:
                if connection is None:
                    time.sleep(pause)
                    connection = self._offered(address)
                    log.info("tracker: registered again")
                    pause = 1.0
                self._offer.wait(_PING_S)
                waiting = set(connection.pending())
                with self._lock:
                    unused = set(self._keys) - waiting
                # A key that was handed out and not used within some pings belongs to a client that gave up.
                taken = taken + 1 if unused and not waiting else 0
                if self._offer.is_set() or taken > 3:
                    self._offer.clear()
                    taken = 0
                    self._put(connection)
            except TrackerError as error:
                if connection is not None:
                    log.warning("%s; trying again", error)
                    connection.close()
                connection = None
                pause = min(2 * pause, _LONGEST_PAUSE_S)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    """The next `count` bytes; None when the stream ends before."""
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def _wait(ended: int, connection: socket.socket) -> None:
    """Wait until the other end of `ended` closes, or some seconds after the client has hung up."""
    both = select.poll()
    both.register(ended, select.POLLIN)
    both.register(connection, _HUNG_UP)
    if all(descriptor != ended for descriptor, _ in both.poll()):
        alone = select.poll()
        alone.register(ended, select.POLLIN)
        alone.poll(1000 * _GRACE_S)
