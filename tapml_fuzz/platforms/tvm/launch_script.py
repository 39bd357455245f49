"""One case on a GPU platform as lines of source: its buffers, then its launches, every number evaluated.

The host program is interpreted as for a run, with names in place of buffers; what differs between APIs is how a
launch is spelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tapml_fuzz.core.dtypes import numpy_dtype
from tapml_fuzz.platforms.python_source import array, attribute
from tapml_fuzz.platforms.tvm.host_program import HostProgram
from tapml_fuzz.platforms.tvm.host_steps import ReadyLaunch
from tapml_fuzz.platforms.tvm.lowering import Program

Shape = tuple[int, ...]


class LaunchRecorder:
    """The lines of `compute`, from `b0 = buffer(x0)` to the last launch, and the expression of its outputs.

    `spell` gives the line of a launch, whose buffers are names here.
    """

    def __init__(self, spell: Callable[[ReadyLaunch], str]) -> None:
        self._spell = spell
        self._buffers = 0
        self.lines: list[str] = []

    def record(self, program: Program, host: HostProgram, shapes: Sequence[Shape], inputs: Sequence[str]) -> str:
        """Fill `lines`; `inputs` are expressions, and so is the list of outputs that it gives."""
        # Only shapes are looked at: a view without memory stands for each tensor.
        tensors = [np.broadcast_to(np.zeros((), np.uint8), shape) for shape in shapes]
        scalars = program.scalars(tensors)
        names: dict[int, str] = {}
        for value, shape, given in zip(program.inputs, shapes, inputs, strict=True):
            names[value.storage] = self._made(f"buffer({given})", shape, value.dtype)
        for storage, constant in program.constants.items():
            names[storage] = self._made(f"buffer(torch.from_numpy({array(constant)}))", constant.shape, "")
        for value in program.allocated:
            names[value.storage] = self._unwritten(value.shape(scalars), value.dtype)
        for launch in program.launches(host.functions, names, scalars, self._unwritten):
            self.lines.append(self._spell(launch))
        reads = [
            f"read({names[v.storage]}, {v.shape(scalars)!r}, {attribute('torch', v.dtype)})" for v in program.outputs
        ]
        return f"[{', '.join(reads)}]"

    def _unwritten(self, shape: Shape, dtype: str) -> str:
        size = int(np.prod(shape, dtype=np.int64)) * numpy_dtype(dtype).itemsize
        return self._made(f"unwritten({size})", shape, dtype)

    def _made(self, expression: str, shape: Shape, dtype: str) -> str:
        name = f"b{self._buffers}"
        self._buffers += 1
        note = f"  # {dtype}{list(shape)}" if dtype else ""
        self.lines.append(f"{name} = {expression}{note}")
        return name
