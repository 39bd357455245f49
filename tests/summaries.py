"""A summary of a run with little in it, for tests that read one."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tapml_fuzz.core.summary import (
    FindingEntry,
    OperatorSummary,
    PairSummary,
    PlatformSummary,
    RunSummary,
    TimeSummary,
)

_ENTRY = FindingEntry(
    id="tanh-echo-wrong-00000000",
    platform="echo",
    operator="aten.tanh.default(float32[a])",
    kind="wrong",
    realism="near",
    ratio=12.5,
    shapes=((2,),),
    dtypes=("float32",),
    elements=2,
    message="output 0, element 0: 1, expected 2",
    operator_key="tanh-0",
    found_elements=20,
    reproducer="findings/tanh-echo-wrong-00000000/reproduce.py",
    new=True,
)
_SUMMARY = RunSummary(
    version="1.2.3",
    seed=7,
    budget="60s",
    reference="torch-cpu",
    elapsed_s=61.25,
    trials=10,
    cases=12,
    elements=300,
    builds=1,
    time_s=TimeSummary(candidate=0.5),
    platforms={
        "torch-cpu": PlatformSummary(trials=0, findings=0, builds=0, reference=True),
        "echo": PlatformSummary(trials=10, findings=1, builds=1, device="a device", versions={"lib": "1"}),
    },
    operators={
        "tanh-0": OperatorSummary("aten.tanh.default(float32[a])", 10, 1, {"echo": PairSummary(10, 0.25, 1)}),
    },
    findings=(_ENTRY,),
)


def entry(**changes: Any) -> FindingEntry:
    """A finding of a wrong value on the platform `echo`, with `changes`."""
    return replace(_ENTRY, **changes)


def run_summary(**changes: Any) -> RunSummary:
    """A run of one operator on the platform `echo`, which has the finding of `entry`, with `changes`."""
    return replace(_SUMMARY, **changes)
