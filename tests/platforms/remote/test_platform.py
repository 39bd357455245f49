"""Remote is the same as local: crashes, hangs, lost servers and trackers, with real servers on the loopback device."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Crash, Ok, RunOutcome, Timeout, Unreachable
from tapml_fuzz.platforms.address import parse
from tapml_fuzz.platforms.base import info_of
from tapml_fuzz.platforms.remote.client import connect
from tapml_fuzz.platforms.remote.protocol import ABOUT, ASK, OPEN, VERSION, About, encode_about
from tapml_fuzz.platforms.remote.served import Served, about
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.platforms.operators import SUB, case
from tests.platforms.servers import Server, free_port, serving, tracker

psutil = pytest.importorskip("psutil")
pytest.importorskip("tvm")

_CASE = case(SUB, a=4, b=5)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def remote(server: Server, name: str = "torch-cpu", **options: float) -> WorkerSession:
    return WorkerSession(f"{name}@rpc://127.0.0.1:{server.port}", **options)  # type: ignore[arg-type]


def works(outcome: RunOutcome) -> bool:
    if not isinstance(outcome, Ok):
        return False
    np.testing.assert_array_equal(outcome.outputs[0], _CASE.tensors[0] - _CASE.tensors[1])
    return True


def processes(server: Server, module: str) -> list[Any]:
    """The server's processes that run `module`."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [p for p in found if f"tapml_fuzz.platforms.{module}" in _command(p)]


def ended(process: Any) -> bool:
    """Whether a process has ended, reaped by whoever inherited it or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _command(process: Any) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_crash_over_there_is_a_crash_and_a_hang_a_timeout(server: Server) -> None:
    with remote(server, run_timeout=2) as session:
        assert works(session.run(_CASE))
        assert "rpc://127.0.0.1" in session.info().device
        (worker,) = processes(server, "session.worker")
        os.kill(worker.pid, signal.SIGSEGV)
        crash = session.run(_CASE)
        assert isinstance(crash, Crash)
        assert crash.exit_code == -signal.SIGSEGV
        # That the next run finds everything in order again is the next line's business as well.
        assert works(session.run(_CASE))
        (worker,) = processes(server, "session.worker")
        os.kill(worker.pid, signal.SIGSTOP)
        assert session.run(_CASE) == Timeout(2)
        assert eventually(lambda: ended(worker)), "the device is not free"
        assert eventually(lambda: not processes(server, "remote.session")), "the client has left a session behind"


def test_server_that_is_killed_is_unreachable_and_used_again_when_it_is_back() -> None:
    port = free_port()
    with serving("--port", str(port)) as first, remote(first, run_timeout=60) as session:
        assert works(session.run(_CASE))
        theirs = [*processes(first, "remote.session"), *processes(first, "session.worker")]
        assert len(theirs) == 2
        os.kill(theirs[1].pid, signal.SIGSTOP)  # as in native code: it does not see that its stream has ended
        first.kill()
        assert eventually(lambda: all(map(ended, theirs))), "the server has left processes behind"
        lost = session.run(_CASE)
        assert isinstance(lost, Unreachable)
        assert "lost the connection" in lost.reason
        # While it is away nothing waits for it, and nothing is remembered against the operator.
        began = time.monotonic()
        assert all(isinstance(session.run(_CASE), Unreachable) for _ in range(20))
        assert time.monotonic() - began < 1
        with serving("--port", str(port)):
            last: list[RunOutcome] = []

            def back() -> bool:
                last[:] = [session.run(_CASE)]
                return works(last[0])

            assert eventually(back, 150), last


def test_tracker_gives_the_device_and_may_be_killed_and_come_back() -> None:
    with tracker() as first, serving("--tracker", f"127.0.0.1:{first.port}", "--key", "board") as server:
        address = parse(f"tracker://127.0.0.1:{first.port}/board")
        session = connect(address)
        first.kill()
        described = about(session)
        assert described is not None
        assert "torch-cpu" in described.platforms
        with tracker(first.port):
            server.wait_for("registered again")
            assert about(connect(address)) is not None  # one device, several clients
            assert about(session) is not None


def test_hostile_bytes_are_refused_and_the_server_goes_on(server: Server) -> None:
    magic = struct.pack("<i", 0xFF271)
    for greeting in (
        b"GET / HTTP/1.1\r\n\r\n",
        magic + struct.pack("<i", 1 << 30),
        magic + struct.pack("<i", -1),
        magic + struct.pack("<i", 10) + b"\xff" * 10,
        magic,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
            try:
                peer.sendall(greeting)
                peer.shutdown(socket.SHUT_WR)
                assert len(peer.recv(100)) in (0, 4)  # hung up, or "no such key"
            except TimeoutError:
                raise
            except OSError:  # it may hang up at any step, before it has read everything
                pass
    assert not processes(server, "remote.session"), "a stranger was given a process"
    session = connect(parse(f"rpc://127.0.0.1:{server.port}"))
    ask, opened = session.get_function(ASK), session.get_function(OPEN)
    for parcel in (b"", b"nonsense", struct.pack("<4sI", b"tfp1", 1 << 31), b"tfp1" + b"\0" * 100):
        with pytest.raises(Exception, match=r"parcel|prefix|index|frame|WireError"):
            ask(parcel)
    strangers = (
        "no-such-platform",
        "torch-cpu@rpc://127.0.0.1:1",
        "user:os:system",
        "tapml_fuzz.platforms.session.worker:main",
    )
    for name in strangers:
        with pytest.raises(Exception, match="and no others"):
            opened(name)
    for path in ("../x", "/tmp/x"):
        with pytest.raises(Exception, match="outside"):
            session.upload(bytearray(b"x"), path)
    assert about(session) is not None


@pytest.mark.parametrize("protocol", [VERSION - 1, VERSION + 1])
def test_server_of_another_version_is_told_apart(protocol: int) -> None:
    class Session:
        def get_function(self, name: str) -> Callable[..., bytes]:
            assert name in (ABOUT, ASK), "nothing else is asked of it"
            return lambda: encode_about(About(protocol, "0.0.1", ("torch-cpu",)))

    info = info_of(Served(Session(), "torch-cpu"))
    assert not info.available
    assert info.reason == "the server is of another version"
    assert "same tapml_fuzz" in info.hint


def test_busy_or_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that takes connections and never answers must not hold a worker for ever."""
    from tapml_fuzz.platforms import base
    from tapml_fuzz.platforms.remote import client as rpc_client

    monkeypatch.setattr(rpc_client, "_SESSION_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(base.MachineUnreachable, match="busy with another client, or stuck"):
            connect(parse(f"rpc://127.0.0.1:{port}"))
        monkeypatch.setattr(rpc_client, "_TRACKER_S", 0.2)
        monkeypatch.setattr(rpc_client, "_PAUSES_S", (0.0,))
        with pytest.raises(base.MachineUnreachable, match=r"no answer|no free device"):
            connect(parse(f"tracker://127.0.0.1:{port}/key"))
