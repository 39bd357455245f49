"""A corpus on disk: operators with the profiles of their arguments, and their seeds.

    manifest.json                    format version, models, versions, the sentences
    operators/<key>.json             operator, one profile per tensor slot, its seeds with their provenance
    seeds/<key>/<id>.safetensors     one seed

Everything is plain data. Files are bounded and checked when they are read; whatever does not fit is `BadCorpus`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tapml_fuzz.core.errors import BadCorpus, TapmlFuzzError, UnknownOperator
from tapml_fuzz.core.operator import Operator, encode_operator
from tapml_fuzz.core.profile import Profile
from tapml_fuzz.storage import seeds as seed_files
from tapml_fuzz.storage.seeds import Provenance, Seed
from tapml_fuzz.storage.tensors import MALFORMED, read_bounded, write_atomically

FORMAT = 1
# Bounds for files that nobody vouches for, far above what a corpus has.
_MAX_JSON_BYTES = 8 << 20
_MAX_OPERATORS = 4096
_MAX_SEEDS = 4096
_KEY = re.compile(r"[A-Za-z0-9_]{1,64}-[0-9a-f]{8}")

T = TypeVar("T")


class ModelRecord(msgspec.Struct, frozen=True):
    """A model that was carved: its name, hash of its weights, device, versions, and how many sentences it read.

    The hash says which model it is: two folders may have one name, and a folder may be renamed.
    """

    name: str
    weights: str
    device: str
    dtype: str
    sentences: int
    versions: dict[str, str]

    @property
    def label(self) -> str:
        """The name as people read it, with the hash that tells it from others of that name."""
        return f"{self.name} ({self.weights})"


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a corpus: its format and the models that were carved into it."""

    format: int
    models: tuple[ModelRecord, ...] = ()


class SeedRecord(msgspec.Struct, frozen=True):
    """A seed as its operator's file lists it."""

    id: str
    provenance: Provenance


class _EntryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operator: msgspec.Raw
    profiles: tuple[Profile, ...]
    seeds: tuple[SeedRecord, ...]


@dataclass(frozen=True, eq=False)
class Entry:
    """One operator of a corpus: `profiles` has one per tensor slot, over all full calls that were seen."""

    operator: Operator
    profiles: tuple[Profile, ...]
    records: tuple[SeedRecord, ...]

    @property
    def key(self) -> str:
        """The operator's key."""
        return self.operator.key

    @property
    def seed_ids(self) -> tuple[str, ...]:
        """Ids of the seeds, in the order of the file."""
        return tuple(record.id for record in self.records)


@dataclass(frozen=True)
class Stats:
    """The amount that a corpus holds; `size` in bytes, `elements` over the inputs of all seeds, `models` by labels."""

    operators: int
    seeds: int
    elements: int
    size: int
    models: tuple[str, ...]


class Corpus:
    """A corpus opened for reading. Seeds are read when asked for, checked against their id, and kept."""

    def __init__(self, path: Path, manifest: Manifest, entries: Iterable[Entry]) -> None:
        self.path = path
        self.manifest = manifest
        self.entries: tuple[Entry, ...] = tuple(sorted(entries, key=lambda e: (e.operator.name, e.key)))
        self._seeds: dict[str, tuple[Seed, ...]] = {}

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Read manifest and operators of the corpus at `path`; raises `BadCorpus` with one line."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise BadCorpus(f"no corpus at {path}: it has no manifest.json", hint="give the folder that carve wrote")
        manifest = _decode(path / "manifest.json", Manifest)
        if manifest.format != FORMAT:
            raise BadCorpus(f"{path}: format {manifest.format}, this version reads {FORMAT}", hint="carve it again")
        files = sorted((path / "operators").glob("*.json"))
        if len(files) > _MAX_OPERATORS:
            raise BadCorpus(f"{path}: {len(files)} operators, more than {_MAX_OPERATORS}")
        return cls(path, manifest, [_read_entry(file) for file in files])

    def entry(self, key: str) -> Entry:
        """The entry with that key; raises `UnknownOperator` where there is none."""
        for entry in self.entries:
            if entry.key == key:
                return entry
        raise UnknownOperator(f"no operator {key[:80]!r} in {self.path}", hint="`corpus list` shows what there is")

    def seeds(self, entry: Entry | str) -> tuple[Seed, ...]:
        """All seeds of an operator, in the order of its file; raises `BadCorpus` for the first that is not sound."""
        if isinstance(entry, str):
            entry = self.entry(entry)
        if entry.key not in self._seeds:
            self._seeds[entry.key] = tuple(self._load(entry, record) for record in entry.records)
        return self._seeds[entry.key]

    def match(self, globs: Sequence[str]) -> tuple[Entry, ...]:
        """Entries whose name (`aten._softmax.default`), short name (`softmax`) or key matches any of the globs."""
        return tuple(entry for entry in self.entries if entry.operator.matches(globs))

    def verify(self) -> list[str]:
        """Every problem found by reading everything, one line each; empty for a sound corpus."""
        problems = []
        for entry in self.entries:
            problems += _unknown_to_torch(entry.operator)
            for record in entry.records:
                try:
                    self._load(entry, record)
                except BadCorpus as error:
                    problems.append(str(error))
        listed = {self._seed_path(e, id_) for e in self.entries for id_ in e.seed_ids}
        strays = sorted(set((self.path / "seeds").glob("*/*")) - listed)
        problems += [f"{stray.relative_to(self.path)}: no operator lists it" for stray in strays]
        return problems

    def stats(self) -> Stats:
        """Count what there is; reads every seed, and raises `BadCorpus` for one that is not sound."""
        loaded = [seed for entry in self.entries for seed in self.seeds(entry)]
        return Stats(
            operators=len(self.entries),
            seeds=len(loaded),
            elements=sum(seed.case().elements for seed in loaded),
            size=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
            models=tuple(model.label for model in self.manifest.models),
        )

    def _seed_path(self, entry: Entry, id_: str) -> Path:
        return self.path / "seeds" / entry.key / f"{id_}.safetensors"

    def _load(self, entry: Entry, record: SeedRecord) -> Seed:
        seed = seed_files.load(self._seed_path(entry, record.id), record.id)
        if seed.operator != entry.operator:
            raise BadCorpus(f"seed {record.id}: it is a call of another operator than {entry.key}")
        return seed


def write(
    path: Path, model: ModelRecord, found: Iterable[tuple[Operator, tuple[Profile, ...], Sequence[Seed]]]
) -> Corpus:
    """Merge what was carved from one model into the corpus at `path` (made if missing), and open it.

    What an earlier carving of the same model (the same hash of weights) left is replaced; what other models left
    stays. An operator known from both keeps the profile over more elements. A kill at any moment leaves a corpus
    that opens: seeds are written before the operators that list them, and removed after.
    """
    old = Corpus.open(path) if (path / "manifest.json").exists() else Corpus(path, Manifest(FORMAT), ())
    entries = {entry.key: entry for entry in (_without(e, model.weights) for e in old.entries) if entry.records}
    for operator, profiles, new_seeds in found:
        before = entries.get(operator.key)
        records = {record.id: record for record in (before.records if before else ())}
        for seed in new_seeds:
            seed_files.save(seed, path / "seeds" / operator.key / f"{seed.id}.safetensors")
            records[seed.id] = SeedRecord(seed.id, seed.provenance)
        if before and sum(p.count for p in before.profiles) > sum(p.count for p in profiles):
            profiles = before.profiles
        entries[operator.key] = Entry(operator, profiles, tuple(records.values()))
    others = tuple(m for m in old.manifest.models if m.weights != model.weights)
    for entry in entries.values():
        _write_entry(path, entry)
    manifest = Manifest(FORMAT, (*others, model))
    write_atomically(path / "manifest.json", _pretty(manifest))
    new = Corpus(path, manifest, entries.values())
    _remove_unlisted(old, new)
    return new


def default_corpus_path() -> Path:
    """The corpus that comes with the package: data of the installed package, the folder `corpus` of a checkout."""
    return Path(__file__).parents[1].joinpath("corpus").resolve()


def is_key(text: str) -> bool:
    """Tell whether a text has the form of an operator's key, and so cannot lead out of the corpus as part of a path."""
    return _KEY.fullmatch(text) is not None


def _read_entry(path: Path) -> Entry:
    name = f"operators/{path.name}"
    if not is_key(path.stem):
        raise BadCorpus(f"{name}: its name is no operator key")
    file = _decode(path, _EntryFile)
    try:
        data: Any = msgspec.json.decode(file.operator)
    except MALFORMED as error:
        raise BadCorpus(f"{name}: its operator is unreadable: {error}") from None
    operator = seed_files.revive_operator(data, name)
    if operator.key != path.stem:
        raise BadCorpus(f"{name}: its operator has the key {operator.key}")
    if len(file.profiles) != len(operator.dtypes):
        raise BadCorpus(f"{name}: {len(file.profiles)} profiles for {len(operator.dtypes)} tensors")
    if len(file.seeds) > _MAX_SEEDS:
        raise BadCorpus(f"{name}: {len(file.seeds)} seeds, more than {_MAX_SEEDS}")
    for record in file.seeds:
        if not seed_files.is_id(record.id):
            raise BadCorpus(f"{name}: {record.id[:80]!r} is no seed id")
    return Entry(operator, file.profiles, file.seeds)


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_bounded(path, _MAX_JSON_BYTES), type=kind)
    except MALFORMED as error:
        raise BadCorpus(
            f"{path.parent.name}/{path.name}: {error}", hint="restore it from version control, or carve it again"
        ) from None


def _unknown_to_torch(operator: Operator) -> list[str]:
    from tapml_fuzz.operators.invoke import resolve

    try:
        resolve(operator.name)
    except TapmlFuzzError as error:
        return [f"operators/{operator.key}.json: {error}"]
    return []


def _without(entry: Entry, weights: str) -> Entry:
    return Entry(entry.operator, entry.profiles, tuple(r for r in entry.records if r.provenance.weights != weights))


def _write_entry(path: Path, entry: Entry) -> None:
    file = _EntryFile(msgspec.Raw(encode_operator(entry.operator)), entry.profiles, entry.records)
    write_atomically(path / "operators" / f"{entry.key}.json", _pretty(file))


def _pretty(value: Any) -> bytes:
    """JSON that reviews well: two spaces, a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _remove_unlisted(old: Corpus, new: Corpus) -> None:
    """Remove the files of what was listed before and is no longer; nothing else is touched."""
    kept = {new._seed_path(entry, id_) for entry in new.entries for id_ in entry.seed_ids}
    keys = {entry.key for entry in new.entries}
    for entry in old.entries:
        if entry.key not in keys:
            (old.path / "operators" / f"{entry.key}.json").unlink(missing_ok=True)
        for id_ in entry.seed_ids:
            if (path := old._seed_path(entry, id_)) not in kept:
                path.unlink(missing_ok=True)
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
