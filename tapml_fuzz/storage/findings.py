"""Findings on disk: one directory per campaign, SQLite in write-ahead mode for the list, files for the tensors.

    findings.sqlite                      runs and findings
    findings/<id>/case.safetensors       the case, what was expected and what was computed
    findings/<id>/reproduce.py, test_<id>.py

A finding's files are written before its row, each atomically, so a kill at any moment leaves only whole findings.
Running again in the same directory adds to it: a failure with a known identity is counted, not stored twice.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tapml_fuzz.core.case import LAYOUTS, Case
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import BadCorpus, BadOption, UnknownFinding
from tapml_fuzz.core.operator import Operator, encode_operator
from tapml_fuzz.core.verdict import Kind, Metrics, Realism
from tapml_fuzz.storage.seeds import MAX_ELEMENTS, revive_operator
from tapml_fuzz.storage.tensors import MALFORMED, pack, read_bounded, unpack, write_atomically

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, started REAL NOT NULL, options TEXT NOT NULL, summary TEXT
);
CREATE TABLE IF NOT EXISTS findings (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 1, record TEXT NOT NULL
);
"""
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,120}")
# The largest file of tensors that is read back.
_MAX_BYTES = 64 << 20


class FindingRecord(msgspec.Struct, frozen=True):
    """One finding as it is listed; its tensors lie beside it.

    Attributes:
        id: stable identity, from platform, operator, kind, dtype and whether the input is special.
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


def finding_id(platform: str, operator: Operator, kind: str, dtype: str, special: bool) -> str:
    """A stable, readable id such as `softmax-tvm-opencl-wrong-1f0c22ab`."""
    text = repr((platform, operator.key, kind, dtype, special))
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    readable = re.sub(r"[^a-z0-9_-]+", "-", f"{operator.short_name}-{platform}-{kind}".lower()).strip("-_")
    return f"{readable[:100]}-{digest}"


class FindingStore:
    """The findings of one output directory; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path / "findings.sqlite", check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise BadOption(f"{path} cannot hold findings: {error}", mend="give another --output") from None
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise BadCorpus(
                f"{path / 'findings.sqlite'}: {error}", mend="move it away, or give another --output"
            ) from None

    @classmethod
    def open(cls, path: Path) -> FindingStore:
        """An existing store; raises `UnknownFinding` where there is none."""
        if not (path / "findings.sqlite").is_file():
            raise UnknownFinding(f"no findings in {path}", mend="give the --output of a run")
        return cls(path)

    def begin_run(self, options: Mapping[str, Any]) -> int:
        """Note that a run has started; gives its number."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO runs (started, options) VALUES (?, ?)", (time.time(), _json(dict(options)))
            )
        return int(cursor.lastrowid or 0)

    def finish_run(self, number: int, summary: Mapping[str, Any]) -> None:
        with self._lock:
            self._database.execute("UPDATE runs SET summary = ? WHERE number = ?", (_json(dict(summary)), number))

    def knows(self, id_: str) -> bool:
        with self._lock:
            return self._database.execute("SELECT 1 FROM findings WHERE id = ?", (id_,)).fetchone() is not None

    def lookup(self, id_: str) -> FindingRecord | None:
        """The stored finding of exactly this id; None where there is none, or none that can be read."""
        with self._lock:
            row = self._database.execute("SELECT record FROM findings WHERE id = ?", (id_,)).fetchone()
        try:
            return _record(row[0]) if row else None
        except BadCorpus:
            return None

    def count_again(self, id_: str) -> None:
        """A known failure was met again."""
        with self._lock:
            self._database.execute("UPDATE findings SET seen = seen + 1 WHERE id = ?", (id_,))

    def put(self, record: FindingRecord, evidence: Evidence, run: int, files: Mapping[str, str]) -> None:
        """Store or replace a finding; `files` are further texts beside its tensors, by name."""
        folder = self.path / "findings" / _checked(record.id)
        write_atomically(folder / "case.safetensors", _pack_evidence(evidence))
        for name, text in files.items():
            write_atomically(folder / name, text.encode())
        write_atomically(folder / "finding.json", msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        with self._lock:
            self._database.execute(
                "INSERT INTO findings (id, run, record) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (record.id, run, _json(record)),
            )

    def remove(self, id_: str) -> None:
        """Forget a finding that turned out to be another one; its files go too."""
        with self._lock:
            self._database.execute("DELETE FROM findings WHERE id = ?", (id_,))
        shutil.rmtree(self.path / "findings" / _checked(id_), ignore_errors=True)

    def all(self) -> list[FindingRecord]:
        """Every finding, oldest first; raises `BadCorpus` for a row that cannot be read."""
        with self._lock:
            rows = self._database.execute("SELECT record FROM findings ORDER BY rowid").fetchall()
        return [_record(row[0]) for row in rows]

    def get(self, id_: str) -> FindingRecord:
        """The finding whose id is, or uniquely begins with, `id_` (also: contains it); raises `UnknownFinding`."""
        records = self.all()
        for fits in (str.__eq__, str.startswith, str.__contains__):
            matching = [r for r in records if fits(r.id, id_)]
            if len(matching) == 1:
                return matching[0]
            if matching:
                raise UnknownFinding(f"{id_!r} is ambiguous: {', '.join(r.id for r in matching[:5])}")
        raise UnknownFinding(f"no finding {id_!r} in {self.path}", mend="`findings list` shows what there is")

    def evidence(self, id_: str) -> Evidence:
        """The tensors of a finding; raises `BadCorpus` when its file is not sound."""
        path = self.path / "findings" / _checked(id_) / "case.safetensors"
        return _unpack_evidence(read_bounded(path, _MAX_BYTES), f"finding {id_}")

    def close(self) -> None:
        with self._lock:
            self._database.close()


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


def _checked(id_: str) -> str:
    if not _ID.fullmatch(id_):
        raise BadCorpus(f"{id_[:80]!r} is no finding id")
    return id_


def _record(text: str) -> FindingRecord:
    try:
        return msgspec.json.decode(text, type=FindingRecord)
    except MALFORMED as error:
        raise BadCorpus(f"a finding's record is unreadable: {error}") from None


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None


def plain_metrics(metrics: Metrics) -> dict[str, Any]:
    """Metrics as JSON can hold them."""
    return {k: finite(v) if isinstance(v, float) else v for k, v in msgspec.to_builtins(metrics).items()}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def versions_of(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of packages, those that are not installed left out."""
    from importlib import metadata

    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
