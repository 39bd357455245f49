"""Framed messages between the supervisor and a worker: a msgpack header and raw tensor bytes, both bounded.

A frame is `magic, header length (u32), payload length (u64)`, the header, then the tensors' bytes one after the
other. Nothing in a frame can name code; shapes, dtypes and lengths are checked before anything is allocated.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from tapml_fuzz.core.dtypes import NAMES, Array, from_bits, name_of, numpy_dtype, to_bits
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.platforms.base import Info, Reproducer

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"tfz1"
MAX_HEADER = 16 << 20  # bytes; the largest headers carry the source of a rejected shader
MAX_PAYLOAD = 2 << 30  # bytes of a message's tensors together
_MAX_DIMS = 64  # as torch and numpy have at the most
_CHUNK = 64 << 10  # bytes; smaller reads than this are made together
_MAX_BUFFERS = 1024  # that one system call takes (Linux and macOS: IOV_MAX)


class WireError(Exception):
    """An error for a frame that is malformed, too large or cut off: the peer is gone or not to be trusted."""


class TensorSpec(msgspec.Struct, frozen=True, array_like=True):
    """The dtype and shape of one tensor in the payload."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size of the packed tensor in bytes."""
        return math.prod(self.shape) * numpy_dtype(self.dtype).itemsize


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message of a worker: the `Info` of its platform."""

    info: Info


class BuildRequest(msgspec.Struct, frozen=True, tag="build"):
    """A request to build an operator, given as canonical JSON (`core.operator.encode_operator`).

    Handles in `drop` are forgotten first.
    """

    operator: bytes
    dtypes: tuple[str, ...]
    sizes: dict[str, int]
    drop: tuple[int, ...] = ()


class CaseSpec(msgspec.Struct, frozen=True, array_like=True):
    """One case of a `RunRequest`: `tensors` are its share of the payload."""

    tensors: tuple[TensorSpec, ...]
    layouts: tuple[str, ...]
    sizes: dict[str, int]


class RunRequest(msgspec.Struct, frozen=True, tag="run"):
    """A request to run build `handle` on each case; each is answered by itself, as soon as it has run."""

    handle: int
    cases: tuple[CaseSpec, ...]


class ReproducerRequest(msgspec.Struct, frozen=True, tag="script"):
    """A request for the program that runs a build spec (as in `BuildRequest`) at `sizes`.

    `fixed` are the sizes of the build spec; `careful` is as in `base.Reproducible`.
    """

    operator: bytes
    dtypes: tuple[str, ...]
    fixed: dict[str, int]
    sizes: dict[str, int]
    layouts: tuple[str, ...]
    careful: bool = False


class BuildReply(msgspec.Struct, frozen=True, tag="built"):
    """A build, kept under `handle`: the `seconds` that it took, and `rss`, the worker's resident memory in bytes."""

    handle: int
    seconds: float
    rss: int


class RunReply(msgspec.Struct, frozen=True, tag="ran"):
    """A run whose outputs are the payload's tensors.

    `rss` is the worker's resident memory in bytes, 0 when not read this time.
    """

    run: Ok[TensorSpec]
    rss: int


class ReproducerReply(msgspec.Struct, frozen=True, tag="scripted"):
    """The platform's reproducer; None from a platform that writes none."""

    reproducer: Reproducer | None


FailureKind = Literal["needs-static", "unsupported", "unreachable", "build-error", "run-error"]


class FailureReply(msgspec.Struct, frozen=True, tag="failure"):
    """The reply in place of a build, a run or a script, by the table in `session.failures`.

    With `lost` the worker's device is unusable from now on.
    """

    kind: FailureKind
    message: str
    source: str = ""
    axes: tuple[str, ...] = ()
    lost: bool = False


Message = Hello | BuildRequest | RunRequest | ReproducerRequest | BuildReply | RunReply | ReproducerReply | FailureReply
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def specs_of(tensors: Sequence[Array]) -> tuple[TensorSpec, ...]:
    """The spec of each tensor, in their order."""
    return tuple(TensorSpec(name_of(tensor), tensor.shape) for tensor in tensors)


def frame(message: Message, tensors: Sequence[Array] = ()) -> list[bytes | memoryview]:
    """A frame's parts: prefix with header, then each tensor's bytes. Raises `WireError` when it is too large."""
    header = _encoder.encode(message)
    buffers = [to_bits(tensor).reshape(-1).view(np.uint8).data for tensor in tensors if tensor.size]
    payload = sum(len(buffer) for buffer in buffers)
    if len(header) > MAX_HEADER or payload > MAX_PAYLOAD:
        raise WireError(f"message of {len(header)} + {payload} bytes exceeds the limits")
    return [_PREFIX.pack(_MAGIC, len(header), payload) + header, *buffers]


def unframed(data: bytes | bytearray | memoryview) -> tuple[Message, list[Array]]:
    """The message and tensors of exactly one frame; the tensors are copies. Raises `WireError`."""
    view = memoryview(data)
    header_length, payload = _lengths(view[: _PREFIX.size])
    start = _PREFIX.size + header_length
    if len(view) != start + payload:
        raise WireError(f"a frame of {start + payload} bytes in {len(view)}")
    message, specs = _opened(view[_PREFIX.size : start], payload)
    tensors = []
    for spec in specs:
        tensors.append(from_bits(view[start : start + spec.nbytes], spec.dtype, spec.shape))
        start += spec.nbytes
    return message, tensors


class Channel:
    """One end of a stream socket that carries frames. Deadlines are `time.monotonic()` values, None for ever."""

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._chunk = memoryview(bytearray(_CHUNK))
        self._ahead = self._chunk[:0]  # what has been read of the chunk and not used yet
        self._poll = select.poll()
        self._poll.register(stream, select.POLLIN)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            stream.setsockopt(socket.SOL_SOCKET, option, 1 << 20)

    def send(self, message: Message, tensors: Sequence[Array] = (), deadline: float | None = None) -> None:
        """Send a frame. Raises `TimeoutError`, or `WireError` when the peer is gone or the message is too large."""
        parts = frame(message, tensors)
        try:
            self._arm(deadline)
            left = self._socket.sendmsg(parts[:_MAX_BUFFERS])  # one system call where the socket's buffer takes it all
            for part in parts:
                if left < len(part):
                    self._arm(deadline)
                    self._socket.sendall(memoryview(part)[left:])
                left = max(0, left - len(part))
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(f"peer is gone: {error}") from error

    def receive(self, deadline: float | None = None) -> tuple[Message, list[Array]]:
        """The next message with its tensors; raises `TimeoutError` or `WireError`."""
        header_length, payload = _lengths(self._exactly(_PREFIX.size, deadline))
        message, specs = _opened(self._exactly(header_length, deadline), payload)
        return message, [self._tensor(spec, deadline) for spec in specs]

    def wait(self, seconds: float) -> bool:
        """Whether anything (a frame, or the end of the stream) can be received within `seconds`."""
        return bool(self._ahead) or bool(self._poll.poll(1000 * seconds))

    def fileno(self) -> int:
        """The socket's descriptor, for `select.poll`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; the peer reads the end of the stream."""
        self._socket.close()

    def _tensor(self, spec: TensorSpec, deadline: float | None) -> Array:
        array = np.empty(spec.shape, numpy_dtype(spec.dtype))
        if array.size:
            self._fill(memoryview(array.reshape(-1).view(np.uint8).data), deadline)
        return array

    def _exactly(self, count: int, deadline: float | None) -> bytearray:
        data = bytearray(count)
        self._fill(memoryview(data), deadline)
        return data

    def _fill(self, view: memoryview, deadline: float | None) -> None:
        while view:
            if not self._ahead and len(view) >= _CHUNK:
                view = view[self._received(view, deadline) :]
                continue
            if not self._ahead:
                self._ahead = self._chunk[: self._received(self._chunk, deadline)]
            count = min(len(view), len(self._ahead))
            view[:count] = self._ahead[:count]
            view, self._ahead = view[count:], self._ahead[count:]

    def _received(self, into: memoryview, deadline: float | None) -> int:
        """Receive at least one byte; the number of bytes that came."""
        self._arm(deadline)
        try:
            count = self._socket.recv_into(into)
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(f"peer is gone: {error}") from error
        if count == 0:
            raise WireError("peer closed the stream")
        return count

    def _arm(self, deadline: float | None) -> None:
        """Let the next socket call wait until `deadline` and no longer."""
        if deadline is None:
            self._socket.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline passed")
        self._socket.settimeout(left)


def _lengths(prefix: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Length of header and payload that a frame's prefix announces."""
    if len(prefix) != _PREFIX.size:
        raise WireError("cut off in its prefix")
    magic, header, payload = _PREFIX.unpack(prefix)
    if magic != _MAGIC or header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise WireError("not a frame, or one beyond the limits")
    return header, payload


def _opened(header: bytes | bytearray | memoryview, payload: int) -> tuple[Message, tuple[TensorSpec, ...]]:
    """The message in a header, and the tensors that make up its payload."""
    try:
        message = _decoder.decode(header)
    except msgspec.DecodeError as error:
        raise WireError(f"malformed header: {error}") from error
    specs: tuple[TensorSpec, ...] = ()
    if isinstance(message, RunRequest):
        specs = tuple(spec for case in message.cases for spec in case.tensors)
    elif isinstance(message, RunReply):
        specs = message.run.outputs
    _check(specs, payload)
    return message, specs


def _check(specs: Sequence[TensorSpec], payload: int) -> None:
    """Shapes and dtypes must be sane and account for exactly the payload's bytes."""
    for spec in specs:
        if spec.dtype not in NAMES or len(spec.shape) > _MAX_DIMS or any(extent < 0 for extent in spec.shape):
            raise WireError(f"bad tensor {spec.dtype[:20]}{list(spec.shape)[:8]}")
    if sum(spec.nbytes for spec in specs) != payload:
        raise WireError(f"tensors need {sum(spec.nbytes for spec in specs)} bytes, the payload has {payload}")
