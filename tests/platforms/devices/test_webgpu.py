"""What a buffer holds is asked of the device only where the host does not know it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.base import Unavailable
from tapml_fuzz.platforms.devices import webgpu as webgpu_device
from tapml_fuzz.platforms.devices.webgpu import WebGPUDevice

INCREMENT = """
@group(0) @binding(0) var<storage, read> given : array<f32>;
@group(0) @binding(1) var<storage, read_write> taken : array<f32>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id : vec3<u32>) {
  taken[id.x] = given[id.x] + 1.0;
}
"""


def placed(device: WebGPUDevice, array: Array) -> Any:
    buffer = device.upload(array)
    device.remember(buffer, array)
    return buffer


@pytest.fixture(scope="module")
def device() -> WebGPUDevice:
    try:
        return WebGPUDevice()
    except Unavailable as error:
        pytest.skip(f"WebGPU: {error}")


@pytest.fixture
def asked(device: WebGPUDevice, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The buffers that the device was asked for."""
    buffers: list[Any] = []
    queue = device._device.queue
    read = type(queue).read_buffer

    def watched(self: Any, buffer: Any, *args: Any) -> Any:
        buffers.append(buffer)
        return read(self, buffer, *args)

    monkeypatch.setattr(type(queue), "read_buffer", watched)
    return buffers


def test_what_was_placed_and_only_read_is_not_asked_for(device: WebGPUDevice, asked: list[Any]) -> None:
    array = np.arange(6, dtype=np.float32)
    given, taken = placed(device, array), device.upload(np.zeros(6, np.float32))
    device.dispatch(
        device.pipeline(INCREMENT, "main", ["read-only-storage", "storage"]), (6, 1, 1), [given, taken], b""
    )
    back = device.download(given, (2, 3), "float32")
    np.testing.assert_array_equal(back, array.reshape(2, 3))
    assert np.shares_memory(back, array)
    assert not back.flags.writeable
    assert asked == []
    np.testing.assert_array_equal(device.download(taken, (6,), "float32"), array + 1)
    assert asked == [taken]


def test_what_a_dispatch_may_have_written_is_asked_for(device: WebGPUDevice, asked: list[Any]) -> None:
    array = np.arange(4, dtype=np.float32)
    pipeline = device.pipeline(INCREMENT, "main", ["read-only-storage", "storage"])
    given, held, landed = placed(device, array), placed(device, array * 10), device.upload(array * 100)
    device.land(landed)
    for buffer, before in (held, array * 10), (landed, array * 100):
        np.testing.assert_array_equal(device.download(buffer, (4,), "float32"), before)
        assert asked == []
        device.dispatch(pipeline, (4, 1, 1), [given, buffer], b"")
        np.testing.assert_array_equal(device.download(buffer, (4,), "float32"), array + 1)
        assert asked == [buffer]
        asked.clear()


def test_what_lands_is_the_callers_own_memory(device: WebGPUDevice, asked: list[Any]) -> None:
    buffer = device.upload(np.arange(4, dtype=np.float32))
    device.land(buffer)
    first = device.download(buffer, (4,), "float32")
    first[:] = 7
    np.testing.assert_array_equal(device.download(buffer, (2, 2), "float32"), [[0, 1], [2, 3]])
    assert asked == []


def test_what_is_too_large_to_land_is_asked_for(
    device: WebGPUDevice, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webgpu_device, "_LANDED", 8)
    buffer = device.upload(np.arange(4, dtype=np.float32))
    device.land(buffer)
    np.testing.assert_array_equal(device.download(buffer, (4,), "float32"), np.arange(4))
    assert asked == [buffer]


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "uint8", "bool"])
def test_every_dtype_comes_back_as_it_went(device: WebGPUDevice, dtype: str) -> None:
    array = np.arange(5).astype(dtype).reshape(5, 1)
    for buffer in placed(device, array), device.upload(array):
        back = device.download(buffer, (5, 1), dtype)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    scalar = device.download(placed(device, np.float32(3)[...]), (), "float32")
    assert scalar.shape == ()
    assert scalar == 3
    assert device.download(placed(device, np.zeros((0, 2), dtype)), (0, 2), dtype).shape == (0, 2)
