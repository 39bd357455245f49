"""Frames: what is sent arrives, and what is no frame is refused before anything is allocated."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapml_fuzz.core.dtypes import NAMES, from_bits, numpy_dtype, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.session.wire import (
    MAX_HEADER,
    MAX_PAYLOAD,
    BuildRequest,
    CaseSpec,
    Channel,
    RunReply,
    RunRequest,
    TensorSpec,
    WireError,
    specs_of,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.integers(0, 4), max_size=4)), max_size=3), st.data())
def test_tensors_arrive_bit_for_bit(layout: list[tuple[str, list[int]]], data: st.DataObject) -> None:
    tensors = []
    for dtype, shape in layout:
        count = int(np.prod(shape)) * numpy_dtype(dtype).itemsize
        raw = data.draw(st.binary(min_size=count, max_size=count))
        tensors.append(from_bits(raw, dtype, tuple(shape)))
    sender, receiver = map(Channel, socket.socketpair())
    sizes = {"a": 3}
    sender.send(RunRequest(5, (CaseSpec(specs_of(tensors), ("contiguous",) * len(tensors), sizes),)), tensors)
    message, received = receiver.receive()
    assert isinstance(message, RunRequest)
    assert (message.handle, message.cases[0].sizes) == (5, sizes)
    for sent, got in zip(tensors, received, strict=True):
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        np.testing.assert_array_equal(to_bits(got), to_bits(sent))
        assert got.flags.writeable
    sender.close()
    receiver.close()


def test_many_cases_in_more_buffers_than_one_system_call_takes(ends: tuple[Channel, socket.socket]) -> None:
    tensors = [np.full(2, number, np.int64) for number in range(2000)]
    sizes = [{"a": number} for number in range(1000)]
    specs = [CaseSpec(specs_of(tensors[2 * n : 2 * n + 2]), ("contiguous",) * 2, size) for n, size in enumerate(sizes)]
    request = RunRequest(3, tuple(specs))
    thread = threading.Thread(target=ends[0].send, args=(request, tensors))
    thread.start()
    message, received = Channel(ends[1]).receive(time.monotonic() + 30)
    thread.join()
    assert message == request
    assert [int(t[1]) for t in received] == [*range(2000)]


def test_payload_larger_than_any_socket_buffer(ends: tuple[Channel, socket.socket]) -> None:
    big = np.arange(5_000_000, dtype=np.int64)
    sender, receiver = ends[0], Channel(ends[1])
    reply = RunReply(Ok(specs_of([big]), 0.5, (0,)), 0)
    thread = threading.Thread(target=sender.send, args=(reply, [big]))
    thread.start()
    message, (received,) = receiver.receive(time.monotonic() + 30)
    thread.join()
    assert message == reply
    np.testing.assert_array_equal(received, big)


def test_a_run_arrives_with_everything_that_was_noticed(ends: tuple[Channel, socket.socket]) -> None:
    outputs = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]))
    run = Ok(outputs, 0.25, unwritten=(2, 0), mutated=(1,), aliased=(0, 1))
    ends[0].send(RunReply(run.with_outputs(specs_of(outputs)), 7), outputs)
    message, received = Channel(ends[1]).receive(time.monotonic() + 5)
    assert isinstance(message, RunReply)
    assert message.rss == 7
    back = message.run.with_outputs(tuple(received))
    for name in Ok.__struct_fields__[1:]:
        assert getattr(back, name) == getattr(run, name)
    for sent, got in zip(outputs, back.outputs, strict=True):
        np.testing.assert_array_equal(got, sent)


def frame(header: bytes, payload: bytes = b"", *, magic: bytes = b"tfz1", header_size: int | None = None,
          payload_size: int | None = None) -> bytes:  # fmt: skip
    sizes = (
        len(header) if header_size is None else header_size,
        len(payload) if payload_size is None else payload_size,
    )
    return struct.pack("<4sIQ", magic, *sizes) + header + payload


def run_header(*specs: TensorSpec) -> bytes:
    return msgspec.msgpack.encode(request(*specs))


def request(*specs: TensorSpec) -> RunRequest:
    return RunRequest(1, (CaseSpec(specs, ("contiguous",) * len(specs), {}),))


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage that is no frame at all",
        frame(b"", magic=b"tfz2"),
        frame(b"", header_size=MAX_HEADER + 1),
        frame(run_header(), payload_size=MAX_PAYLOAD + 1),
        frame(b"\xc1\xc1"),
        frame(msgspec.msgpack.encode({"type": "unheard-of"})),
        frame(msgspec.msgpack.encode({"type": "run", "handle": "1"})),
        frame(msgspec.msgpack.encode({"type": "ran", "outputs": [], "seconds": 0.5, "rss": 0})),  # as before
        frame(run_header(TensorSpec("float32", (2, 2))), b"x" * 15),
        frame(run_header(TensorSpec("float32", (2, 2))), b"x" * 17),
        frame(run_header(TensorSpec("object", (1,))), b"x" * 8),
        frame(run_header(TensorSpec("float32", (-1, -4))), b"x" * 16),
        frame(run_header(TensorSpec("float32", (1,) * 65)), b"x" * 4),
        frame(run_header(TensorSpec("float32", (1 << 40, 1 << 40)))),
        frame(run_header())[:-1],
        frame(run_header(TensorSpec("float32", (2,))), b"x" * 8)[:-1],
        b"",
    ],
)
def test_what_is_no_frame_is_refused(raw: bytes, ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    peer.sendall(raw)
    peer.close()
    with pytest.raises(WireError):
        channel.receive(time.monotonic() + 5)


def test_deadline_holds_within_a_frame(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    peer.sendall(frame(run_header())[:-1])
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(started + 0.2)
    assert time.monotonic() - started < 2


def test_deadline_holds_for_a_peer_that_does_not_read(ends: tuple[Channel, socket.socket]) -> None:
    big = np.zeros(16 << 20, np.uint8)
    with pytest.raises(TimeoutError):
        ends[0].send(request(*specs_of([big])), [big], time.monotonic() + 0.2)


def test_too_large_a_message_is_not_sent(ends: tuple[Channel, socket.socket]) -> None:
    with pytest.raises(WireError, match="exceeds"):
        ends[0].send(BuildRequest(b"x" * (MAX_HEADER + 1), (), {}))


def test_waiting_sees_data_and_its_absence(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    assert not channel.wait(0.01)
    peer.sendall(b"x")
    assert channel.wait(1)
