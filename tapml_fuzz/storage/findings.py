"""Findings on disk: one directory per campaign, SQLite in write-ahead mode for the list, files for the tensors.

    findings.sqlite            runs and findings
    findings/<id>/             the finding's record, its tensors and reproducers (`finding_folder`)

A finding's files are written before its row, each atomically, so a kill at any moment leaves only whole findings.
Running again in the same directory adds to it: a failure with a known identity is counted, not stored twice.

The folders are what counts. A list that lacks some of them (lost, emptied, copied without its write-ahead log) is
rebuilt from their records when the store is opened.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tapml_fuzz.core.errors import BadCorpus, BadOption, SystemRefusal, UnknownFinding
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.summary import RunSummary
from tapml_fuzz.core.text import printable
from tapml_fuzz.core.verdict import Metrics
from tapml_fuzz.storage import finding_folder
from tapml_fuzz.storage.finding_folder import Evidence, FindingRecord, checked_id, decode_record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, started REAL NOT NULL, options TEXT NOT NULL, summary TEXT
);
CREATE TABLE IF NOT EXISTS findings (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 1, record TEXT NOT NULL
);
"""
# The run of findings whose row was lost; runs count from 1.
_UNKNOWN_RUN = 0
_MAX_REASON = 300  # characters: a line or two of a terminal
_REFUSALS = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)


def finding_id(platform: str, operator: Operator, kind: str, dtype: str, special: bool) -> str:
    """A stable, readable id such as `softmax-tvm-opencl-wrong-1f0c22ab`."""
    text = repr((platform, operator.key, kind, dtype, special))
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    readable = re.sub(r"[^a-z0-9_-]+", "-", f"{operator.short_name}-{platform}-{kind}".lower()).strip("-_")
    return f"{readable[:100]}-{digest}"


class FindingStore:
    """The findings of one output directory; safe to use from several threads.

    `notes` are lines for the user: that the list was rebuilt, and which folders it could not be rebuilt from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path / "findings.sqlite", check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise BadOption(f"{path} cannot hold findings: {error}", hint="give another --output") from None
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            self.notes = self._rebuild()
        except sqlite3.DatabaseError as error:
            raise _refusal(path, error) or BadCorpus(
                f"{path / 'findings.sqlite'}: {error}",
                hint="move it away, and it is rebuilt from the folders in findings; or give another --output",
            ) from None

    @classmethod
    def open(cls, path: Path) -> FindingStore:
        """An existing store; raises `UnknownFinding` where there is none.

        Raises `BadCorpus` for one that lists nothing although it has folders: that is not to find nothing.
        """
        if not (path / "findings.sqlite").is_file() and not finding_folder.folders(path / "findings"):
            raise UnknownFinding(f"no run has left findings in {path}", hint="run first, or give its --output")
        store = cls(path)
        if store.notes and not store._listed():
            store.close()
            first, more = store.notes[0].removeprefix("skipped "), len(store.notes) - 1
            raise BadCorpus(
                f"{path / 'findings.sqlite'} lists nothing, and cannot be rebuilt from the folders beside it: {first}"
                + (f"; and {more} more" if more else ""),
                hint="restore them from a copy, or move them away and run again",
            )
        return store

    def begin_run(self, options: Mapping[str, Any]) -> int:
        """Note that a run has started; gives its number."""
        with self._list() as database:
            cursor = database.execute(
                "INSERT INTO runs (started, options) VALUES (?, ?)", (time.time(), _json(dict(options)))
            )
        return int(cursor.lastrowid or 0)

    def finish_run(self, number: int, summary: RunSummary) -> None:
        """Keep the summary of the run `number`, as JSON."""
        with self._list() as database:
            database.execute("UPDATE runs SET summary = ? WHERE number = ?", (_json(summary), number))

    def lookup(self, id_: str) -> FindingRecord | None:
        """The stored finding of exactly this id; None where there is none, or none that can be read."""
        with self._list() as database:
            row = database.execute("SELECT record FROM findings WHERE id = ?", (id_,)).fetchone()
        try:
            return decode_record(row[0]) if row else None
        except BadCorpus:
            return None

    def count_again(self, id_: str) -> None:
        """A known failure was met again."""
        with self._list() as database:
            database.execute("UPDATE findings SET seen = seen + 1 WHERE id = ?", (id_,))

    def put(self, record: FindingRecord, evidence: Evidence, run: int, files: Mapping[str, str]) -> None:
        """Store or replace a finding; `files` are further texts beside its tensors, by name."""
        finding_folder.write(self._folder(record.id), record, evidence, files)
        with self._list() as database:
            database.execute(
                "INSERT INTO findings (id, run, record) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (record.id, run, _json(record)),
            )

    def remove(self, id_: str) -> None:
        """Forget a finding that turned out to be another one; its files go too."""
        folder = self._folder(id_)
        finding_folder.disown(folder)  # before its row, or a store opened in between would list it again
        with self._list() as database:
            database.execute("DELETE FROM findings WHERE id = ?", (id_,))
        shutil.rmtree(folder, ignore_errors=True)

    def all(self) -> list[FindingRecord]:
        """Every finding, oldest first; raises `BadCorpus` for a row that cannot be read."""
        with self._list() as database:
            rows = database.execute("SELECT record FROM findings ORDER BY rowid").fetchall()
        return [decode_record(row[0]) for row in rows]

    def get(self, id_: str) -> FindingRecord:
        """The finding whose id is, or uniquely begins with, `id_` (also: contains it); raises `UnknownFinding`."""
        records = self.all()
        for fits in (str.__eq__, str.startswith, str.__contains__):
            matching = [r for r in records if fits(r.id, id_)]
            if len(matching) == 1:
                return matching[0]
            if matching:
                raise UnknownFinding(f"{id_!r} is ambiguous: {', '.join(r.id for r in matching[:5])}")
        raise UnknownFinding(f"no finding {id_!r} in {self.path}", hint="`findings list` shows what there is")

    def evidence(self, id_: str) -> Evidence:
        """The tensors of a finding; raises `BadCorpus` when its file is not sound."""
        return finding_folder.read_evidence(self._folder(id_))

    def close(self) -> None:
        """Close the database; the store is of no use afterwards."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _list(self) -> Iterator[sqlite3.Connection]:
        """The list, for one thread at a time. Raises `SystemRefusal` where it cannot be read or written."""
        with self._lock:
            try:
                yield self._database
            except sqlite3.OperationalError as error:
                raise (_refusal(self.path, error) or error) from None

    def _folder(self, id_: str) -> Path:
        return self.path / "findings" / checked_id(id_)

    def _listed(self) -> set[str]:
        return {row[0] for row in self._database.execute("SELECT id FROM findings")}

    def _rebuild(self) -> tuple[str, ...]:
        """List the findings whose folders have no row; what there is to tell of it, a line each."""
        if not set(finding_folder.folders(self.path / "findings")) - self._listed():
            return ()
        found, skipped = [], []
        with self._database:
            # Whoever removes a finding meanwhile takes its record away first and then waits for this: so a folder
            # that has a record and no row has lost it.
            self._database.execute("BEGIN IMMEDIATE")
            listed = self._listed()
            for name in finding_folder.folders(self.path / "findings"):
                if name in listed:
                    continue
                try:
                    found.append(finding_folder.read_record(self.path / "findings" / name))
                except BadCorpus as error:
                    skipped.append(_one_line(f"skipped findings/{name[:80]}: {error}"))
            self._database.executemany(
                "INSERT INTO findings (id, run, record) VALUES (?, ?, ?)",
                [(r.id, _UNKNOWN_RUN, text) for r, text in sorted(found, key=lambda f: (f[0].created, f[0].id))],
            )
        if found:
            what = f"{len(found)} finding{'s were' if len(found) > 1 else ' was'}"
            rebuilt = f"{self.path / 'findings.sqlite'} was rebuilt: {what} missing in it and read back from findings/"
            return (rebuilt, *skipped)
        return tuple(skipped)


def _refusal(path: Path, error: sqlite3.DatabaseError) -> SystemRefusal | None:
    """The error as the system's, where the disk, not the list, is at fault."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _REFUSALS:  # the upper bits tell more of the same
        return None
    hint = "make room there, make it writable, or give another --output"
    return SystemRefusal(f"{path / 'findings.sqlite'}: {error}", hint=hint)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))[:_MAX_REASON]


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None


def plain_metrics(metrics: Metrics) -> dict[str, Any]:
    """Metrics as JSON can hold them."""
    return {k: finite(v) if isinstance(v, float) else v for k, v in msgspec.to_builtins(metrics).items()}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


__all__ = ["Evidence", "FindingRecord", "FindingStore", "finding_id", "finite", "plain_metrics"]
