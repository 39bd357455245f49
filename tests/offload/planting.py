"""torch on the CPU under another name, with faults planted."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.offload.planted import Planted
from tapml_fuzz.core.case import Layout
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.torch.eager import TorchCpu


class Unbounded(TorchCpu):
    """gelu is wrong wherever its input is larger than any model makes it."""

    name = "unbounded"

    def activate(self) -> Info:
        return msgspec.structs.replace(super().activate(), name=self.name)

    def run(
        self, build: Any, tensors: Sequence[Array], layouts: Sequence[Layout], sizes: Mapping[str, int]
    ) -> Ok[Array]:
        run = super().run(build, tensors, layouts, sizes)
        if build.short_name == "gelu":
            bounded = np.where(np.abs(tensors[0]) > 1e3, np.float32(0), run.outputs[0])
            return msgspec.structs.replace(run, outputs=(bounded,))
        return run


class Twin(Planted):
    """See `benchmarks.offload.planted.Plan`."""

    name = "twin"

    def __init__(self, faults: Mapping[str, str], pairs: Sequence[tuple[str, str]] = ()) -> None:
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder)
        super().__init__(plan(Path(folder), faults, pairs))


def plan(folder: Path, faults: Mapping[str, str], pairs: Sequence[tuple[str, str]] = ()) -> str:
    """The path of a plan's file."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"platform": "torch-cpu", "faults": dict(faults), "pairs": list(pairs)}))
    return str(path)


def pair_of(subject: Subject, reader: str) -> tuple[str, str]:
    """The first operator of that short name, behind the one that makes its first input."""
    steps = subject.recordings[0].steps
    made = {name: step.operator.key for step in steps for name in step.outputs}
    step = next(step for step in steps if step.operator.short_name == reader)
    return made[step.inputs[0]], step.operator.key
