"""A fault, twin or control as a session, in this process."""

from __future__ import annotations

import msgspec

from benchmarks.detection.model import Control
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.kernels.candidate import CallableSession

# Generous: a driver's first compilation on a busy machine is no hang.
_TIMEOUT_S = 60.0


class ControlSession(CallableSession):
    """Takes a recorded call's arguments as they are; has the control's policy and dtypes."""

    def __init__(self, control: Control) -> None:
        super().__init__(control.name, control.function, arrays=control.arrays, positional=True, timeout=_TIMEOUT_S)
        self._control = control

    def info(self) -> Info:
        info = super().info()
        assert info.capabilities is not None
        capabilities = msgspec.structs.replace(info.capabilities, strided=self._control.strided)
        return msgspec.structs.replace(info, policy=self._control.policy, capabilities=capabilities)
