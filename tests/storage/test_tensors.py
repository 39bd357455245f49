"""Files of tensors: faithful for every dtype and layout, and never trusted."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.errors import BadCorpus
from tapml_fuzz.storage.tensors import content_hash, pack, read_bounded, unpack, write_atomically


def sample(dtype: str) -> dtypes.Array:
    return np.arange(-6, 18).reshape(2, 3, 4).astype(dtypes.numpy_dtype(dtype))


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def declared(dtype: str, shape: list[int], offsets: list[int], tag: str) -> dict[str, object]:
    note = json.dumps({"dtypes": {"x": tag}, "note": None})
    return {"__metadata__": {"tapml_fuzz": note}, "x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize("dtype", dtypes.NAMES)
def test_every_dtype_survives(dtype: str) -> None:
    array = sample(dtype)
    read, note = unpack(pack({"x": array}, b'{"a":1}'), "it")
    assert read["x"].dtype == array.dtype
    assert read["x"].shape == array.shape
    assert read["x"].tobytes() == array.tobytes()
    assert json.loads(note) == {"a": 1}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_layout_does_not_change_values(dtype: str) -> None:
    array = sample(dtype)
    for view in (array.transpose(2, 0, 1), array[:, ::2, ::-1], np.asfortranarray(array), array[:0], array[0, 0, 0:1]):
        read = unpack(pack({"x": view}), "it")[0]["x"]
        assert read.shape == view.shape
        np.testing.assert_array_equal(dtypes.to_bits(read), dtypes.to_bits(view))
        assert content_hash([view]) == content_hash([read])


def test_scalars_and_special_values_survive_bit_by_bit() -> None:
    bits = np.array([0x7FC0, 0xFF80, 0x0001, 0x8000, 0x7FC1], np.uint16)
    special = bits.view(ml_dtypes.bfloat16)
    scalar = np.array(-0.0, np.float32)
    read, _ = unpack(pack({"s": special, "zero": scalar}), "it")
    np.testing.assert_array_equal(read["s"].view(np.uint16), bits)
    assert read["zero"].shape == ()
    assert np.signbit(read["zero"])


def test_equal_content_gives_equal_bytes() -> None:
    one, two = sample("float32"), sample("int64")
    assert pack({"a": one, "b": two}, b'"n"') == pack({"b": two, "a": one}, b'"n"')


def test_hash_sees_dtype_shape_and_bytes() -> None:
    array = np.zeros((2, 3), np.float32)
    others = [array.reshape(3, 2), array.astype(np.int32), -array, np.zeros((2, 3), ml_dtypes.bfloat16)]
    assert len({content_hash([a]) for a in [array, *others]}) == 5


def test_unstorable_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        pack({"x": np.zeros(2, np.complex64)})


def test_truncation_anywhere_is_refused() -> None:
    raw = pack({"x": sample("float32"), "y": sample("bfloat16")}, b'{"a":1}')
    for length in range(len(raw)):
        with pytest.raises(BadCorpus):
            unpack(raw[:length], "it")
    with pytest.raises(BadCorpus):
        unpack(raw + b"\0", "it")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_refused_or_seen_in_the_content(data: st.DataObject) -> None:
    original = {"x": sample("float32"), "y": sample("int8")}
    raw = bytearray(pack(original, b'{"a":1}'))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read, note = unpack(bytes(raw), "it")
    except BadCorpus:
        return
    names_kept = read.keys() == original.keys()
    assert (
        not names_kept
        or note != b'{"a":1}'
        or any(content_hash([read[k]]) != content_hash([original[k]]) for k in original)
    )


@pytest.mark.parametrize(
    "raw",
    [
        (1 << 62).to_bytes(8, "little") + b"{}",
        with_header(declared("F32", [1 << 40], [0, 16], "float32"), b"\0" * 16),
        with_header(declared("F32", [1 << 62, 1 << 62], [0, 16], "float32"), b"\0" * 16),
        with_header(declared("F32", [-4], [0, 16], "float32"), b"\0" * 16),
        with_header(declared("F32", [4], [0, 1 << 50], "float32"), b"\0" * 16),
        with_header(declared("F32", [4], [16, 0], "float32"), b"\0" * 16),
        with_header(declared("F32", [1] * 9, [0, 4], "float32"), b"\0" * 4),
        with_header(declared("F32", [4], [0, 16], "int32"), b"\0" * 16),
        with_header(declared("U16", [8], [0, 16], "uint16"), b"\0" * 16),
        with_header(declared("F8_E4M3", [16], [0, 16], "float32"), b"\0" * 16),
        with_header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"\0" * 16),
        with_header(b"[" * 5000),
        with_header(b'{"a":' * 5000),
        with_header([1, 2]),
        with_header(b'{"\xdf": 1}'),
        b"",
        b"PK\x03\x04 a torch file, say",
    ],
)
def test_malformed_files_are_refused_in_one_line(raw: bytes) -> None:
    with pytest.raises(BadCorpus) as caught:
        unpack(raw, "seed x")
    assert str(caught.value).startswith("seed x: ")
    assert "\n" not in str(caught.value)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (canary,))

    bomb = pickle.dumps(Bomb())
    for raw in (bomb, with_header(bomb), with_header(declared("U8", [len(bomb)], [0, len(bomb)], "uint8"), bomb)):
        try:
            unpack(raw, "it")
        except BadCorpus:
            continue
    assert not canary.exists()


def test_reading_is_bounded_before_it_begins(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take a terabyte
    with pytest.raises(BadCorpus, match="more than"):
        read_bounded(large)
    with pytest.raises(BadCorpus):
        read_bounded(tmp_path / "missing")
    with pytest.raises(BadCorpus):
        read_bounded(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadCorpus, match="regular"):
        read_bounded(tmp_path / "pipe")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    with pytest.raises(OSError) as caught:  # noqa: PT011  (which one, the system decides)
        write_atomically(path, b"")
    assert caught.value.filename == str(path)
