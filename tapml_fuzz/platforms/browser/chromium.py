"""A headless Chromium with one page of ours, spoken to over a WebSocket on the loopback interface.

A message either way is the length of a JSON header (u32, little-endian), the header, and raw bytes. The page answers
each request with one reply. What ends the page (a crashed tab, a killed browser) ends the connection, which is seen at
once; the browser itself ends with this process, by way of `keeper.py`.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import secrets
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 60.0  # an idle machine needs one
_MAX_MESSAGE = 1 << 30  # bytes: a case at the strategies' limits, and room to spare
_LENGTH = struct.Struct("<I")
_FLAGS = (
    "--headless=new",
    "--enable-unsafe-webgpu",  # Linux has WebGPU behind this flag
    "--use-webgpu-adapter=swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-extensions",
    "--disable-breakpad",
    "--disable-dev-shm-usage",  # containers often have 64 MiB there
    "--disable-renderer-backgrounding",
    "--log-level=3",
    "--user-data-dir={folder}/profile",
)
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


class Gone(Exception):
    """The page, its tab or the whole browser has ended."""


def find_chromium() -> str | None:
    """The program named in `$CHROMIUM`, else Chromium or Chrome by its name on PATH."""
    named = os.environ.get("CHROMIUM")
    candidates = [named] if named else _NAMES
    return next((found for found in map(shutil.which, candidates) if found), None)


class Browser:
    """One running browser with one page. Not for use from several threads at once.

    `chromium` is the program's path, `files` maps file names to the files that the page consists of; `page.html` is
    opened. Raises `Gone` when no page answers.

    Attributes:
        hello: what the page said of itself first.
        folder: removed when the browser ends; for whatever should go with it.
        address: of the page's server, without the token that it asks for.
    """

    def __init__(self, chromium: str, files: Mapping[str, Path]) -> None:
        from websockets.sync.server import serve

        self._token = secrets.token_urlsafe(32)
        self._files = files
        self._connections: queue.Queue[ServerConnection] = queue.Queue()
        self._taken = threading.Lock()
        self._closed = threading.Event()
        self._server = serve(
            self._hand_over,
            "127.0.0.1",
            0,
            process_request=self._respond,
            compression=None,
            max_size=_MAX_MESSAGE,
            ping_interval=None,  # the end of the connection says enough, and a busy page answers no ping
            close_timeout=1,
        )
        self.address = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._keeper = _start_keeper([chromium, *_FLAGS, *_as_root(), f"{self.address}/{self._token}/page.html"])
        try:
            self.folder = self._told_folder()
            self._connection = self._connected()
            self.hello, _ = self._receive(_START_S)
        except BaseException:
            self.close()
            raise

    def ask(
        self, header: Mapping[str, Any], parts: Sequence[Any] = (), seconds: float | None = None
    ) -> tuple[dict[str, Any], memoryview]:
        """Send a request with the bytes of `parts`, one after the other; the reply's header and bytes.

        Raises `Gone`, also when the page does not answer in `seconds` (it is ended then).
        """
        from websockets.exceptions import ConnectionClosed

        encoded = json.dumps(header).encode()
        try:
            self._connection.send(b"".join([_LENGTH.pack(len(encoded)), encoded, *parts]))
        except (ConnectionClosed, OSError) as error:
            raise Gone(self._ending()) from error
        return self._receive(seconds)

    def close(self) -> None:
        """End the browser and what belongs to it."""
        self._closed.set()
        self._server.shutdown()
        for stream in (self._keeper.stdin, self._keeper.stdout):
            if stream is not None:
                stream.close()
        self._keeper.wait()

    def _receive(self, seconds: float | None) -> tuple[dict[str, Any], memoryview]:
        from websockets.exceptions import ConnectionClosed

        try:
            message = self._connection.recv(seconds, decode=False)
        except TimeoutError as error:
            self.close()
            raise Gone(f"the page gave no answer within {seconds:g} s") from error
        except (ConnectionClosed, OSError) as error:
            raise Gone(self._ending()) from error
        view = memoryview(message)
        (length,) = _LENGTH.unpack_from(view)
        begin = _LENGTH.size + length
        return json.loads(bytes(view[_LENGTH.size : begin])), view[begin:]

    def _told_folder(self) -> Path:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise Gone(self._ending())
        return Path(os.fsdecode(line.rstrip(b"\n")))

    def _connected(self) -> ServerConnection:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                return self._connections.get(timeout=0.1)
            except queue.Empty:
                if self._keeper.poll() is not None:
                    break
        raise Gone(self._ending())

    def _ending(self) -> str:
        try:
            status = self._keeper.wait(0.5)
        except subprocess.TimeoutExpired:
            return "the page has ended, or never began"
        return f"the browser has ended with status {status}"

    def _hand_over(self, connection: ServerConnection) -> None:
        """Runs in the connection's thread and keeps it open."""
        self._connections.put(connection)
        self._closed.wait()

    def _respond(self, connection: ServerConnection, request: Request) -> Response | None:
        """The page's files, and its one socket, to whoever knows the token."""
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        _, token, name = [*request.path.split("/", 2), "", ""][:3]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return connection.respond(404, "")
        if name == "socket":
            ours = request.headers.get("Origin") == self.address and self._taken.acquire(blocking=False)
            return None if ours else connection.respond(403, "")
        if name not in self._files:
            return connection.respond(404, "")
        body = self._files[name].read_bytes()
        headers = Headers()
        headers["Content-Type"] = _TYPES[Path(name).suffix]
        headers["Content-Length"] = str(len(body))
        headers["Connection"] = "close"
        # 'wasm-unsafe-eval' allows WebAssembly, and no eval of JavaScript (Content Security Policy 3, 4.4).
        headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src {self.address} 'wasm-unsafe-eval'; "
            f"connect-src {self.address.replace('http', 'ws', 1)}"
        )
        return Response(200, "OK", headers, body)


def _as_root() -> tuple[str, ...]:
    """Chromium refuses to run as root with its sandbox."""
    return ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()


def _start_keeper(command: Sequence[str]) -> subprocess.Popen[bytes]:
    keeper = Path(__file__).with_name("keeper.py")
    return subprocess.Popen(
        [sys.executable, "-I", str(keeper), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
