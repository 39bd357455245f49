"""A hybrid graph with a platform behind RPC: running there reads like running here, and its loss is no verdict."""

from __future__ import annotations

import pytest

from tapml_fuzz.core.errors import UnavailablePlatform
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.subject import Subject
from tests.platforms.servers import serving, tvm_server

pytest.importorskip("tvm")
pytest.importorskip("tornado", reason="TVM's RPC needs tornado")

OPERATORS = ("gelu", "softmax", "native_layer_norm", "bmm")


@pytest.mark.parametrize("server", [tvm_server, serving])
def test_some_operators_elsewhere_give_the_same_model(subject: Subject, server: object) -> None:
    with server() as there:  # type: ignore[operator]
        name = f"tvm-llvm@rpc://127.0.0.1:{there.port}"
        away = {key: name for key in subject.operators if key.startswith(OPERATORS)}
        with Hybrid(Site("torch-cpu"), Site(name)) as hybrid:
            check = subject.check(hybrid, away)
            assert not check.failed, check.worst
            assert check.traffic[0].copied["torch-cpu", name] > 0
            there.kill()
            with pytest.raises(UnavailablePlatform, match="--resume"):
                subject.check(hybrid, away)
