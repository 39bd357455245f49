"""The registry: one row a platform, from which every list of platforms follows, those of the tests included."""

from __future__ import annotations

import pytest

from benchmarks import host
from tapml_fuzz.platforms.registry import PLATFORMS, Row, candidates, known, load, location, on_request, references


@pytest.mark.parametrize("row", PLATFORMS, ids=lambda row: row.name)
def test_row_names_a_platform_of_that_name(row: Row) -> None:
    assert load(location(row.name)).name == row.name


def test_every_platform_is_a_reference_a_candidate_or_fuzzed_on_request() -> None:
    named = [row.name for row in PLATFORMS]
    assert sorted([*references(), *candidates(), *on_request()]) == sorted(named)
    assert len(set(named)) == len(named)
    assert known()[: len(references())] == tuple(references()) == ("torch-cuda", "torch-cpu")
    assert "tvm-llvm" in candidates()
    assert "tvm-c" in on_request()


def test_versions_of_a_benchmark_are_those_of_all_requirements() -> None:
    required = set(host._required())
    assert {"torch", "numpy", "onnxruntime", "iree-base-compiler", "pyopencl", "wgpu"} <= required
    assert not {"tapml_fuzz", "pytest", "ruff", "towncrier"} & required
    assert host.versions()["torch"]
