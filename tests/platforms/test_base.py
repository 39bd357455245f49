"""A platform that cannot run here raises `Unavailable`; what it knows all the same is in its `Info`."""

from __future__ import annotations

from typing import Any

import pytest

from tapml_fuzz.core.version import __version__
from tapml_fuzz.platforms.base import Info, Unavailable, info_of
from tapml_fuzz.platforms.remote.protocol import ABOUT, ASK, OPEN, VERSION, About, encode_about
from tapml_fuzz.platforms.remote.served import Served
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.session.wire import Hello, frame
from tests.platforms.fakes import WHERE, Absent, Echo, Exploding

_ABSENT = Info("absent", False, "no such device", "buy one", versions={"driver": "0.1"}, operators=("softmax",))


def test_info_of_a_platform_that_is_unavailable_raises_or_is_there() -> None:
    assert info_of(Absent()) == _ABSENT
    assert info_of(Exploding()) == Info("exploding", False, "activation failed: OSError: libnothing.so: cannot open")
    assert info_of(Echo()) == Echo().activate()


@pytest.mark.parametrize("kind", [Absent, Exploding])
def test_in_this_process_as_through_a_worker(kind: type[Absent]) -> None:
    with InProcessSession(kind()) as here, WorkerSession(kind.name, where=WHERE + kind.__name__) as there:
        assert here.info() == there.info() == info_of(kind())


def server_that_has(info: Info) -> Any:
    """The RPC session of a server of ours whose platform says `info`."""

    class Session:
        def get_function(self, name: str) -> Any:
            return {
                ABOUT: lambda: encode_about(About(VERSION, __version__, (info.name,))),
                OPEN: lambda platform: b"".join(frame(Hello(info))),
                ASK: None,
            }[name]

    return Session()


def test_through_a_server() -> None:
    with pytest.raises(Unavailable, match="no such device"):
        Served(server_that_has(_ABSENT), "absent").activate()
    info = info_of(Served(server_that_has(_ABSENT), "absent"))
    assert (info.hint, info.operators) == (_ABSENT.hint, _ABSENT.operators)
    assert info.versions == {"driver": "0.1", "tapml_fuzz": __version__}
    there = info_of(Served(server_that_has(Echo().activate()), "echo"))
    assert there.available
    assert there.versions == {"tapml_fuzz": __version__}
