"""The universal runtime: tensors that stay on a platform's device from one call to the next.

`Platform.run` takes numpy arrays and gives numpy arrays, which is right for a case that nobody else will see. A graph
hands what one call gives to the next, so a platform may be `Resident` as well: it keeps tensors, computes on them and
hands one over only when it is asked. Whoever is not is wrapped in `OnHost`, whose tensors are numpy arrays. Tensors
on the same device change hands through DLPack without a copy; a device behind RPC is one like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from tapml_fuzz.core.case import PACKED
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.base import Platform


class Resident(Protocol):
    """A platform, or what stands for it, that keeps tensors. Its tensors are its own business: opaque here."""

    def place(self, array: Array) -> Any:
        """A tensor with the array's contents, which the caller no longer changes."""

    def adopt(self, tensor: Any) -> Any | None:
        """Another platform's tensor as one of this, over the same memory; None where that cannot be."""

    def compute(self, build: Any, tensors: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        """Run a build of this platform; waits until it is done. Raises what `Platform.run` raises."""

    def fetch(self, tensor: Any) -> Array:
        """The contents as a packed numpy array."""


class OnHost:
    """A platform that keeps nothing: its tensors are numpy arrays, handed in and out at every call."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def place(self, array: Array) -> Array:
        """The array itself."""
        return array

    def adopt(self, tensor: Any) -> Array | None:
        """The tensor itself where it is a numpy array, else None."""
        return tensor if isinstance(tensor, np.ndarray) else None

    def compute(self, build: Any, tensors: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
        """Run the build by `Platform.run` on packed arrays; see `Resident.compute`."""
        run = self._platform.run(build, tensors, (PACKED,) * len(tensors), sizes)
        return list(run.outputs)

    def fetch(self, tensor: Array) -> Array:
        """The array itself."""
        return tensor


def resident(platform: Platform) -> Resident:
    """The platform itself where it keeps tensors, else its stand-in, or the one it names with `residence()`."""
    if hasattr(platform, "residence"):
        named: Resident = platform.residence()
        return named
    return cast(Resident, platform) if hasattr(platform, "compute") else OnHost(platform)


def on_device(tensor: Any, kind: int, index: int) -> bool:
    """Whether a tensor is on the device that DLPack calls `(kind, index)`; 1 is the CPU, 2 is CUDA."""
    if not hasattr(tensor, "__dlpack_device__"):
        return False
    if not hasattr(tensor, "is_pinned"):
        return _numbers(tensor) == (kind, index)
    found = _torch_devices.get(tensor.device)  # torch needs longer to say than to hand the tensor over
    if found is None:
        found = _torch_devices[tensor.device] = _numbers(tensor)
    return found == (kind, index)


_torch_devices: dict[Any, tuple[int, int]] = {}


def _numbers(tensor: Any) -> tuple[int, int]:
    kind, index = tensor.__dlpack_device__()
    return int(kind), int(index)
