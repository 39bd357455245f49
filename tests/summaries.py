"""Summaries of a run and of walks with little in them, for tests that read one."""

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
from tapml_fuzz.core.walk_summary import (
    FinalModelRun,
    FinalRun,
    FunctionSummary,
    Growth,
    LibrariesWalkSummary,
    ModelWalkSummary,
    NodeSummary,
    OwnRunSummary,
    RecordingSummary,
    UnitSummary,
    View,
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


_UNITS = (
    UnitSummary("tanh-0", "aten.tanh(float32[a])", 1, "moved", worst=0.5, view=View(1.0), seconds=0.25),
    UnitSummary("gelu-0", "aten.gelu(float32[a])", 1, "blocked", "alone", "wrong", ("gelu-1",), noticed=True),
    UnitSummary(
        "add-0", "aten.add(float32[a])", 1, "blocked", "model", "alone it is right", partners=("tanh-0",),
        noticed=True, worst=1e300, growth=(Growth("add", "layer.0", "add-0", 1e300, 0.5),),
    ),
)  # fmt: skip
_WALK = ModelWalkSummary(
    model="model",
    digest="0",
    reference="torch-cpu",
    target="tvm-llvm",
    versions={"apache-tvm": "1"},
    units=_UNITS,
    moved=1,
    blocked=2,
    unsupported=0,
    elapsed_s=12.5,
    task="embedding",
    recordings=(RecordingSummary("sentence 1", 3, ()),),
    nodes=(
        NodeSummary("", "tanh", "layer.0", "tanh-0", "moved", 0.5),
        NodeSummary("", "gelu", "layer.1", "gelu-0", "blocked", 0.0),
        NodeSummary("", "add", "", "add-0", "blocked", None),
    ),
    reference_nodes=2,
    final=FinalModelRun(
        failed=False, worst=0.5, worst_value="tanh", view=View(1.0), seen="cosine 1.000000000", node_seconds=0.5,
        copied_bytes={"torch-cpu -> tvm-llvm": 8}, shared_tensors=1,
    ),
)  # fmt: skip
_LIBRARIES = LibrariesWalkSummary(
    model="a.so",
    digest="0",
    reference="a.so",
    target="b.so",
    versions={},
    units=_UNITS[:1],
    moved=1,
    blocked=0,
    unsupported=0,
    elapsed_s=1.5,
    task="libraries",
    devices=("cpu", "cpu"),
    functions=(FunctionSummary("fused_tanh", 1, 0.5, 1e-6, 4.0, 0.1, 0.2),),
    nodes=1,
    reference_nodes=0,
    notes=("only b.so calls exp",),
    final=FinalRun(failed=False, worst=0.5, worst_value="tanh", view=View(1.0)),
    own=OwnRunSummary(failed=False, worst=0.5, view=None, identical_to_final=True),
)


def walk_summary(**changes: Any) -> ModelWalkSummary:
    """A model's walk: one operator moved, one fails alone, one only in the model; with `changes`."""
    return replace(_WALK, **changes)


def libraries_summary(**changes: Any) -> LibrariesWalkSummary:
    """A walk from one library to another that moved its only function, with `changes`."""
    return replace(_LIBRARIES, **changes)
