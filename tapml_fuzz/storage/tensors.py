"""Tensors on disk: safetensors files that are bounded and checked before anything is allocated, and content hashes.

Three things the plain library leaves open are closed here. It writes the wrong values of a non-contiguous array
without a word, so arrays are packed first. numpy has no bfloat16, so bfloat16 goes by its bits, with a tag in the
metadata. And a file with several metadata entries has different bytes in every process, so all metadata is one
entry, and content is addressed by what the tensors hold, never by the file's bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import BadCorpus, naming

# A seed is meant to stay under 256 KB; the bound leaves room for hand-made ones and none for surprises.
MAX_FILE_BYTES = 4 << 20
MAX_HEADER_BYTES = 256 << 10
MAX_TENSORS = 128
MAX_RANK = 8

# All that decoding untrusted JSON can raise: msgspec lets a wrong UTF-8 sequence out as what it is.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# The safetensors format: the length of the JSON header as an unsigned 64-bit little-endian integer, the header,
# then the data. `__metadata__` is the header's only entry that is not a tensor.
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_NOTE = "tapml_fuzz"

# How each safetensors element type is held in numpy, and the dtypes that may be tagged on top of it.
_STORED = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "U16": "bfloat16",
}


class _Header(msgspec.Struct, frozen=True):
    """The metadata entry that `pack` writes: the dtype of every tensor, and the caller's note."""

    dtypes: dict[str, str]
    note: msgspec.Raw


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The declaration of one tensor in a safetensors header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def content_hash(tensors: Iterable[Array], salt: bytes = b"") -> str:
    """32 hexadecimal digits over `salt`, then dtype, shape and raw bytes of every tensor, in order."""
    digest = hashlib.blake2b(salt, digest_size=16)
    for tensor in tensors:
        digest.update(repr((dtypes.name_of(tensor), tensor.shape)).encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def pack(tensors: Mapping[str, Array], note: bytes = b"null") -> bytes:
    """The bytes of a safetensors file with these tensors (any layout) and `note`, a JSON text.

    Equal tensors and notes give equal bytes. Raises `ValueError` for a dtype outside `core.dtypes.NAMES`.
    """
    tags = {name: dtypes.name_of(array) for name, array in sorted(tensors.items())}
    if unknown := set(tags.values()) - set(dtypes.NAMES):
        raise ValueError(f"dtypes that cannot be stored: {', '.join(sorted(unknown))}")
    stored = {
        name: dtypes.to_bits(array) if tags[name] == "bfloat16" else np.ascontiguousarray(array).reshape(array.shape)
        for name, array in tensors.items()
    }
    header = msgspec.json.encode(_Header(tags, msgspec.Raw(note)))
    return bytes(safetensors.numpy.save(stored, {_NOTE: header.decode()}))


def unpack(raw: bytes, name: str, limit: int = MAX_FILE_BYTES) -> tuple[dict[str, Array], bytes]:
    """The inverse of `pack`; `name` is what an error calls the file, `limit` its largest size in bytes.

    Raises `BadCorpus` for anything that `pack` would not have written: cut short, too large, sizes that do not
    fit the data, an unknown or contradictory dtype.
    """
    header = _read_header(raw, name, limit)
    try:
        declared = {key: msgspec.convert(value, _Declared) for key, value in header.items() if key != _METADATA}
        own = msgspec.json.decode(header[_METADATA][_NOTE], type=_Header)
    except (*MALFORMED, KeyError, TypeError) as error:
        raise _rejected(name, f"its header is not one that tapml_fuzz writes: {_one_line(error)}") from None
    if own.dtypes.keys() != declared.keys() or len(declared) > MAX_TENSORS:
        raise _rejected(name, "its dtype tags do not fit its tensors")
    for key, tensor in declared.items():
        if _STORED.get(tensor.dtype) != own.dtypes[key]:
            raise _rejected(name, f"tensor {key!r} is stored as {tensor.dtype} but tagged {own.dtypes[key]}")
        if len(tensor.shape) > MAX_RANK:
            raise _rejected(name, f"tensor {key!r} has {len(tensor.shape)} axes, more than {MAX_RANK}")
    try:
        parts = dict(safetensors.deserialize(raw))  # type: ignore[no-untyped-call]
        arrays = {
            key: dtypes.from_bits(parts[key]["data"], own.dtypes[key], tuple(tensor.shape))
            for key, tensor in declared.items()
        }
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _rejected(name, _one_line(error)) from None
    return arrays, bytes(own.note)


def _read_header(raw: bytes, name: str, limit: int) -> dict[str, Any]:
    """The decoded JSON header, its length checked against the file before it is read."""
    if len(raw) > limit:
        raise _rejected(name, f"it has {len(raw)} bytes, more than {limit}")
    length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    if len(raw) < _LENGTH_BYTES or length > min(MAX_HEADER_BYTES, len(raw) - _LENGTH_BYTES):
        raise _rejected(name, "it is cut short, or no safetensors file")
    try:
        return msgspec.json.decode(raw[_LENGTH_BYTES : _LENGTH_BYTES + length], type=dict[str, Any])
    except MALFORMED as error:
        raise _rejected(name, f"its header is unreadable: {_one_line(error)}") from None


def read_bounded(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; raises `BadCorpus` otherwise, before reading it."""
    try:
        # A pipe would make an ordinary open wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _rejected(str(path), "it is no regular file")
            if status.st_size > limit:
                raise _rejected(str(path), f"it has {status.st_size} bytes, more than {limit}")
            return file.read(limit + 1)
    except OSError as error:
        raise _rejected(str(path), error.strerror or _one_line(error)) from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, sees either the old content or the new.

    Raises `OSError` that names it.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _rejected(name: str, cause: str) -> BadCorpus:
    return BadCorpus(f"{name}: {cause}", hint="restore it from version control, or carve it again")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
