"""torch on the CPU under another name, with faults planted."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.offload.planted import Planted


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
