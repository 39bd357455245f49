"""The outputs of a program that no shader can write, though TVM would generate one."""

from __future__ import annotations

from tapml_fuzz.platforms.base import NotSupported
from tapml_fuzz.platforms.devices.wgsl_types import ABSENT
from tapml_fuzz.platforms.tvm.lowering import Program


def refuse_outputs(program: Program) -> None:
    """Raise `NotSupported` when an output of `program` is of a dtype that no shader can write."""
    for value in program.outputs:
        if value.dtype in (*ABSENT, "int64"):
            raise NotSupported(f"WGSL has no {value.dtype}, and an output is {value.dtype}")
