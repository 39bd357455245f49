"""Frames on their way to another machine: a part that was sent before is named by its content and not sent again.

TVM's RPC moves some 20 to 40 MB/s even on the loopback device, and a fifth of the bytes that a campaign sends have
been sent before (measured): a failing case runs again, reduction changes one tensor of several, weights stay. Both
ends keep the same parts by the same rule, so the sender knows what the receiver has without asking.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from tapml_fuzz.platforms.session.wire import MAX_HEADER, MAX_PAYLOAD, WireError

_PREFIX = struct.Struct("<4sI")
_MAGIC = b"tfp1"
_MAX_INDEX = 1 << 16  # bytes; a part takes some thirty
_DIGEST = 16  # bytes
# Below this, hashing and naming cost as much as sending; above, hashing is twenty times quicker.
SMALL = 4096
KEPT = 64 << 20  # bytes of parts that either end keeps (the sender only their names)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One part of a frame: `digest` is empty for one that is not kept; `sent` says that its bytes are here."""

    digest: bytes
    nbytes: int
    sent: bool


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Part]] = msgspec.msgpack.Decoder(list[Part])


class Shelf:
    """Parts by content, the longest unused given up first. One per direction and end of a session."""

    def __init__(self, kept: int = KEPT) -> None:
        self._limit = kept
        self._parts: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._held = 0

    def get(self, digest: bytes) -> tuple[int, bytes] | None:
        """Size in bytes and (at the receiver) content of a part; None for one that is not kept."""
        found = self._parts.get(digest)
        if found is not None:
            self._parts.move_to_end(digest)
        return found

    def put(self, digest: bytes, nbytes: int, content: bytes = b"") -> None:
        """Keep a part of `nbytes` bytes, unless it is kept already or larger than the whole shelf."""
        if digest in self._parts or nbytes > self._limit:
            return
        self._parts[digest] = (nbytes, content)
        self._held += nbytes
        while self._held > self._limit:
            _, (gone, _) = self._parts.popitem(last=False)
            self._held -= gone


def pack(parts: Sequence[bytes | memoryview], shelf: Shelf) -> bytes:
    """A parcel of a frame's parts, without those on the shelf; what is sent is on it afterwards."""
    index, sent = [], []
    for part in parts:
        if len(part) < SMALL:
            index.append(Part(b"", len(part), True))
            sent.append(part)
            continue
        digest = hashlib.blake2b(part, digest_size=_DIGEST).digest()
        known = shelf.get(digest) is not None
        index.append(Part(digest, len(part), not known))
        if not known:
            shelf.put(digest, len(part))
            sent.append(part)
    head = _encoder.encode(index)
    return b"".join([_PREFIX.pack(_MAGIC, len(head)), head, *sent])


def unpack(data: bytes, shelf: Shelf) -> bytes:
    """The frame in a parcel.

    Raises `WireError` for data that are no parcel, are too large, or name a part that is not on the shelf.
    """
    view = memoryview(data)
    if len(view) < _PREFIX.size:
        raise WireError("cut off in its prefix")
    magic, length = _PREFIX.unpack(view[: _PREFIX.size])
    if magic != _MAGIC or length > _MAX_INDEX:
        raise WireError("not a parcel, or one beyond the limits")
    try:
        index = _decoder.decode(view[_PREFIX.size : _PREFIX.size + length])
    except msgspec.DecodeError as error:
        raise WireError(f"malformed index: {error}") from error
    start = _PREFIX.size + length
    if any(part.nbytes < 0 or len(part.digest) not in (0, _DIGEST) for part in index):
        raise WireError("a part that cannot be")
    if sum(part.nbytes for part in index) > MAX_HEADER + MAX_PAYLOAD:
        raise WireError("a frame beyond the limits")
    if start + sum(part.nbytes for part in index if part.sent) != len(view):
        raise WireError("the parts do not make up the parcel")
    parts: list[bytes | memoryview] = []
    for part in index:
        if not part.sent:
            found = shelf.get(part.digest)
            if found is None or found[0] != part.nbytes:
                raise WireError("a part that was never sent")
            parts.append(found[1])
            continue
        content = view[start : start + part.nbytes]
        start += part.nbytes
        if part.digest:
            shelf.put(part.digest, part.nbytes, bytes(content))
        parts.append(content)
    return b"".join(parts)
