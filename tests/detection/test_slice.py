"""A slice of the detection benchmark: what it found it must go on finding, and what is correct must go on passing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from benchmarks.detection.methods import recorded
from benchmarks.detection.model import Control
from benchmarks.detection.ours import fuzzer
from benchmarks.detection.registry import controls, faults, subject_of, subjects
from benchmarks.detection.work import compared

RESULT = Path(__file__).parents[2] / "benchmarks/results/detection.json"
TRIALS = 100

# Faults make numbers that libraries warn about.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def found_before() -> dict[str, int]:
    """The trial at which seed 0 found each fault when the checked-in result was made, where it did."""
    firsts = msgspec.json.decode(RESULT.read_bytes())["first_trials"]["ours"]
    return {name: trials[0] for name, trials in firsts.items() if trials[0] is not None}


def tried(name: str, control: Control, trials: int, *, stop: bool) -> str:
    """What the first failure says; empty when there is none."""
    if control.missing:
        pytest.skip(f"{name}: {control.missing} is not installed or has no device")
    first = fuzzer(control, recorded(subject_of(control)), trials=trials, seconds=60, seed=0, stop=stop).first
    return f"{first.trial}: {first.kind}, {first.message}" if first else ""


@pytest.mark.parametrize("name", compared(faults(), 5))
def test_fault_is_found(name: str) -> None:
    before = found_before().get(name)
    if before is None or before > TRIALS // 2:
        pytest.skip(f"the checked-in result found it at trial {before}: too late to ask for it here")
    assert tried(name, faults()[name].candidate, TRIALS, stop=True), f"found at trial {before} before, lost now"


@pytest.mark.parametrize("name", compared(faults(), 5))
def test_correct_twin_passes(name: str) -> None:
    assert tried(name, faults()[name].twin, 30, stop=False) == ""


@pytest.mark.parametrize("name", compared(controls(), 4))
def test_control_passes(name: str) -> None:
    assert tried(name, controls()[name], 60, stop=False) == ""


def test_there_is_enough_of_everything() -> None:
    families = {subject_of(fault).family for fault in faults().values()}
    kernels = [f for f in faults().values() if f.written in ("opencl", "wgsl")]
    assert len(faults()) >= 100
    assert len(families) >= 14
    assert len(kernels) >= 25
    assert len(controls()) >= 60


def test_everything_has_a_subject_and_an_origin() -> None:
    for thing in (*faults().values(), *controls().values()):
        assert thing.subject in subjects(), thing.name
    assert all(fault.origin for fault in faults().values())


def test_the_package_knows_nothing_of_the_benchmark() -> None:
    root = Path(__file__).parents[2]
    sources = [p for room in ("tapml_fuzz", "strategies") for p in (root / room).rglob("*.py")]
    assert len(sources) > 100
    assert [p.name for p in sources if "import benchmarks" in p.read_text() or "from benchmarks" in p.read_text()] == []
