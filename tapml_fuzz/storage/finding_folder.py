"""A finding's folder: its record, its tensors, and whatever texts lie beside them.

    finding.json             the record, as the store lists it
    case.safetensors         the case, what was expected and what was computed
    reproduce.py, test_<id>.py

The record is written last, so a folder that has one is whole. All of it is untrusted when it is read: sizes are
bounded, and whatever does not fit is `BadCorpus`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tapml_fuzz.core.case import LAYOUTS, Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import BadCorpus
from tapml_fuzz.core.operator import encode_operator
from tapml_fuzz.core.verdict import Kind, Realism
from tapml_fuzz.storage.seeds import MAX_ELEMENTS, revive_operator
from tapml_fuzz.storage.tensors import MALFORMED, pack, read_bounded, unpack, write_atomically

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,120}")
_RECORD = "finding.json"
_TENSORS = "case.safetensors"
# The largest file of tensors that is read back, twice the largest outputs that strategies allow (2**22 elements in
# float64), and the largest record.
_MAX_BYTES = 64 << 20
_MAX_RECORD_BYTES = 1 << 20


class FindingRecord(msgspec.Struct, frozen=True):
    """One finding as it is listed; its tensors lie beside it.

    Attributes:
        id: stable identity, from platform, operator, kind, dtype and whether the input is special.
        reference: the reference platform of the run that found it.
        operator: a line for people; operator_key: the corpus entry.
        realism: how far the input is from what was observed (the most realistic input that failed so).
        ratio: max |actual - expected| / error bound; None where no distance says it
            (a wrong class of number, a crash).
        shapes, dtypes, elements: of the inputs of the smallest case found so far; found_elements: before reduction.
        reduced: whether reduction has finished; reduce_seconds: what it took.
        reproducer: path of the standalone script, relative to the store.
    """

    id: str
    platform: str
    operator: str
    operator_key: str
    kind: Kind
    realism: Realism
    ratio: float | None
    message: str
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    elements: int
    found_elements: int
    metrics: dict[str, Any]
    origin: str = ""
    recipe: str = ""
    reduced: bool = False
    reduce_seconds: float = 0.0
    reproducer: str = ""
    versions: dict[str, str] = {}
    created: float = 0.0
    reference: str = "torch-cpu"  # what findings that do not say were compared with, as a rule


@dataclass(frozen=True)
class Evidence:
    """The tensors of a finding: the case, what was expected (float64) and what the platform gave (maybe nothing).

    `bounds` are the error bounds of what was expected, None where it is exact, for who writes the reproducer: they are
    not stored, as they follow from the case. Empty where nothing is known of them.
    """

    case: Case
    expected: tuple[Array, ...]
    actual: tuple[Array, ...]
    bounds: tuple[Array | None, ...] = ()


class _Note(msgspec.Struct, frozen=True):
    operator: msgspec.Raw
    sizes: dict[str, int]
    layouts: tuple[str, ...]
    origin: str


def checked_id(id_: str) -> str:
    """The id; raises `BadCorpus` for a text that has not the form of one (and so could lead out of the store)."""
    if not _ID.fullmatch(id_):
        raise BadCorpus(f"{id_[:80]!r} is no finding id")
    return id_


def write(folder: Path, record: FindingRecord, evidence: Evidence, files: Mapping[str, str]) -> None:
    """Write or replace a finding's folder; `files` are further texts, by name."""
    write_atomically(folder / _TENSORS, _pack_evidence(evidence))
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    write_atomically(folder / _RECORD, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def disown(folder: Path) -> None:
    """Take away what makes the folder a whole finding, so that what is left of it is never read back."""
    (folder / _RECORD).unlink(missing_ok=True)


def folders(path: Path) -> list[str]:
    """Names of the folders in `path`, whatever they hold; hidden ones are those of other tools.

    None where there is no `path`; raises `BadCorpus` for one that cannot be read, which is not to hold none.
    """
    try:
        return sorted(item.name for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadCorpus(f"{path} cannot be read: {error.strerror}", hint="make it a folder that can be read") from None


def read_record(folder: Path) -> tuple[FindingRecord, str]:
    """The record of a whole folder, and its JSON text; raises `BadCorpus` for a folder that is not sound."""
    id_ = checked_id(folder.name)
    if folder.is_symlink():
        raise BadCorpus("it is a link")
    try:
        if missing := [name for name in (_RECORD, _TENSORS) if not (folder / name).is_file()]:
            raise BadCorpus(f"it has no {missing[0]}: a run is writing it, or ended while it did")
        if (folder / _RECORD).stat().st_size > _MAX_RECORD_BYTES:
            raise BadCorpus(f"its {_RECORD} has more than {_MAX_RECORD_BYTES} bytes")
        text = read_bounded(folder / _RECORD, _MAX_RECORD_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCorpus(f"its {_RECORD} cannot be read: {error}") from None
    record = decode_record(text)
    if record.id != id_:
        raise BadCorpus(f"its record is that of {record.id[:80]!r}")
    return record, text


def read_evidence(folder: Path) -> Evidence:
    """The tensors of a finding; raises `BadCorpus` when their file is not sound."""
    return _unpack_evidence(read_bounded(folder / _TENSORS, _MAX_BYTES), f"finding {folder.name}")


def decode_record(text: str) -> FindingRecord:
    """A record from its JSON text; raises `BadCorpus`."""
    try:
        return msgspec.json.decode(text, type=FindingRecord)
    except MALFORMED as error:
        raise BadCorpus(f"a finding's record is unreadable: {error}") from None


def _pack_evidence(evidence: Evidence) -> bytes:
    groups = {"input": evidence.case.tensors, "expected": evidence.expected, "actual": evidence.actual}
    tensors = {f"{group}{i}": t for group, arrays in groups.items() for i, t in enumerate(arrays)}
    case = evidence.case
    note = _Note(msgspec.Raw(encode_operator(case.operator)), dict(case.sizes), case.layouts, case.origin)
    return pack(tensors, msgspec.json.encode(note))


def _unpack_evidence(raw: bytes, name: str) -> Evidence:
    arrays, note_bytes = unpack(raw, name, _MAX_BYTES)
    try:
        note = msgspec.json.decode(note_bytes, type=_Note)
        operator = revive_operator(msgspec.json.decode(note.operator), name)
    except MALFORMED as error:
        raise BadCorpus(f"{name}: its note is unreadable: {error}") from None

    def group(prefix: str) -> tuple[Array, ...]:
        return tuple(arrays[f"{prefix}{i}"] for i in range(len(arrays)) if f"{prefix}{i}" in arrays)

    inputs = group("input")
    bounded = all(0 <= n <= MAX_ELEMENTS for n in note.sizes.values())
    fits = (
        bounded
        and set(operator.axis_names) == set(note.sizes)
        and len(note.layouts) == len(inputs) == len(operator.dtypes)
    )
    if (
        not fits
        or not set(note.layouts) <= set(LAYOUTS)
        or operator.shapes(note.sizes) != tuple(t.shape for t in inputs)
    ):
        raise BadCorpus(f"{name}: its tensors do not fit {operator.name}")
    case = Case(operator, note.sizes, inputs, note.layouts, note.origin)  # type: ignore[arg-type]
    return Evidence(case, group("expected"), group("actual"))
