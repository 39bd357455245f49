"""Device memory that is kept between runs: the conformance kit passes, and nothing of an earlier run is seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.tvm.pool import Pool
from tests.conformance import checks
from tests.platforms.pooled import PooledLlvm


@pytest.fixture(scope="module")
def session() -> Iterator[WorkerSession]:
    with WorkerSession("pooled-llvm", where="tests.platforms.pooled:PooledLlvm", run_timeout=60) as isolated:
        yield isolated


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_kit(check: checks.Check, session: WorkerSession) -> None:
    check(session)


def test_runs_share_memory_and_results_do_not() -> None:
    platform = PooledLlvm()
    local = InProcessSession(platform)
    results = []
    for sizes in ({"a": 4, "b": 5}, {"a": 3, "b": 5}, {"a": 4, "b": 5}):
        given = checks.case(checks.SUB, **sizes)
        outcome = local.run(given)
        assert isinstance(outcome, Ok)
        results.append((outcome.outputs[0], given.tensors[0] - given.tensors[1]))
        assert platform.pool.kept == 3 * 256
    for actual, wanted in results:
        np.testing.assert_array_equal(actual, wanted)


def test_nothing_is_kept_after_an_error_or_beyond_the_limit() -> None:
    import tvm

    pool = Pool(tvm.cpu())
    with pool.lending():
        pool.filled(np.zeros(1 << 20, np.float32), "float32")
    assert pool.kept == 4 << 20
    with pool.lending():
        pool.filled(np.zeros(1 << 25, np.float32), "float32")
    assert pool.kept == 4 << 20
    with pytest.raises(AttributeError), pool.lending():
        pool.filled("no array", "float32")  # type: ignore[arg-type]
    assert pool.kept == 0
    assert not pool.lends
