"""The functions that our RPC server registers beside TVM's own: their names, and messages that are not a worker's."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.platforms.session.wire import MAX_HEADER, Message, WireError, unframed

VERSION = 3
ABOUT = "tapml_fuzz.about"  # () -> About
OPEN = "tapml_fuzz.open"  # platform's name -> the frame of its worker's Hello
ASK = "tapml_fuzz.ask"  # parcel with a request -> frame of the worker's answer, or WorkerEnded


class About(msgspec.Struct, frozen=True):
    """The server's facts: `protocol` must be ours, `version` is tapml_fuzz's there, `platforms` the names it knows."""

    protocol: int
    version: str
    platforms: tuple[str, ...]


class WorkerEnded(msgspec.Struct, frozen=True, tag="ended"):
    """The death of the worker over there; the fields are those of `core.outcome.Crash`."""

    exit_code: int
    stderr: str


_T = TypeVar("_T")
_ENDED = b"tfe1"
_encoder = msgspec.msgpack.Encoder()
_about: msgspec.msgpack.Decoder[About] = msgspec.msgpack.Decoder(About)
_ended: msgspec.msgpack.Decoder[WorkerEnded] = msgspec.msgpack.Decoder(WorkerEnded)


def encode_about(about: About) -> bytes:
    """The message as msgpack."""
    return _encoder.encode(about)


def decode_about(data: bytes) -> About:
    """The message in bytes from `encode_about`. Raises `WireError` for any others."""
    return _decoded(_about, data)


def encode_ended(ended: WorkerEnded) -> bytes:
    """The message as msgpack behind a mark that tells it from a frame."""
    return _ENDED + _encoder.encode(ended)


def decode_reply(data: bytes) -> tuple[Message | WorkerEnded, list[Array]]:
    """A worker's message with its tensors, or the `WorkerEnded` in its place. Raises `WireError` for anything else."""
    if data.startswith(_ENDED):
        return _decoded(_ended, data[len(_ENDED) :]), []
    return unframed(data)


def _decoded(decoder: msgspec.msgpack.Decoder[_T], data: bytes) -> _T:
    if len(data) > MAX_HEADER:
        raise WireError(f"a message of {len(data)} bytes exceeds the limit")
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise WireError(f"malformed message: {error}") from error
