"""The conformance kit on another machine, as far as processes on the loopback device are one: both kinds of server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.conformance import checks
from tests.platforms.servers import serving, tvm_server

pytest.importorskip("tvm")
pytest.importorskip("cloudpickle", reason="TVM's RPC server needs cloudpickle")


@pytest.fixture(scope="module", params=["torch-cpu, our server", "tvm-llvm, TVM's server"])
def session(request: pytest.FixtureRequest) -> Iterator[WorkerSession]:
    name, _, whose = request.param.partition(", ")
    with (
        serving() if whose == "our server" else tvm_server() as server,
        WorkerSession(f"{name}@rpc://127.0.0.1:{server.port}", run_timeout=60) as isolated,
    ):
        info = isolated.info()
        assert info.available, f"{info.reason}: {server.lines}"
        yield isolated


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_platform(check: checks.Check, session: WorkerSession) -> None:
    check(session)
