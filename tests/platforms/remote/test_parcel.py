"""Parcels: nothing is sent twice, everything arrives, and what is no parcel is refused."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapml_fuzz.platforms.remote.parcel import SMALL, Shelf, pack, unpack
from tapml_fuzz.platforms.session.wire import MAX_PAYLOAD, WireError

_DIGEST = b"d" * 16


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, SMALL - 1, SMALL, 2 * SMALL])), max_size=4)))
def test_every_frame_arrives_whatever_is_kept(frames: list[list[tuple[int, int]]]) -> None:
    # Room for three large parts: the sender must know when the receiver has given one up.
    sender, receiver = Shelf(3 * SMALL), Shelf(3 * SMALL)
    for frame in frames:
        parts = [bytes([value]) * size for value, size in frame]
        assert unpack(pack(parts, sender), receiver) == b"".join(parts)


def test_what_was_sent_is_not_sent_again() -> None:
    sender, receiver = Shelf(), Shelf()
    big, other = b"a" * 100_000, b"b" * 100_000
    first = pack([b"head", big], sender)
    again = pack([b"head", big, other], sender)
    assert len(first) > 100_000
    assert 100_000 < len(again) < 101_000
    assert unpack(first, receiver) == b"head" + big
    assert unpack(again, receiver) == b"head" + big + other


def parcel(index: list[tuple[bytes, int, bool]], content: bytes = b"", magic: bytes = b"tfp1") -> bytes:
    head = msgspec.msgpack.encode(index)
    return struct.pack("<4sI", magic, len(head)) + head + content


@pytest.mark.parametrize("data", [
    b"", b"tfp1", b"x" * 100,
    parcel([(b"", 1, True)], b"a", magic=b"nope"),
    struct.pack("<4sI", b"tfp1", 1 << 30),
    struct.pack("<4sI", b"tfp1", 3) + b"\xc1\xc1\xc1",
    parcel([(b"", 2, True)], b"a"),
    parcel([(b"", 1, True)], b"ab"),
    parcel([(b"", -1, True), (b"", 2, True)], b"a"),
    parcel([(b"short", 1, True)], b"a"),
    parcel([(_DIGEST, 5000, False)]),
    parcel([(b"", MAX_PAYLOAD, False)] * 9),
], ids=range(12))  # fmt: skip
def test_what_is_no_parcel_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        unpack(data, Shelf())


def test_a_kept_part_of_another_size_is_refused() -> None:
    shelf = Shelf()
    assert unpack(parcel([(_DIGEST, 2, True)], b"ab"), shelf) == b"ab"
    with pytest.raises(WireError, match="never sent"):
        unpack(parcel([(_DIGEST, 3, False)]), shelf)
