from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest

from tapml_fuzz.cli.main import main
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.errors import BadCorpus, SystemRefusal, UnknownFinding
from tapml_fuzz.core.operator import Operator, Product, Slot
from tapml_fuzz.storage import findings as storage
from tapml_fuzz.storage.findings import Evidence, FindingRecord, FindingStore, finding_id

OPERATOR = Operator("aten.neg.default", (Slot(0),), {}, ((Product(("a",)),),), ("bfloat16",))
CASE = Case(OPERATOR, {"a": 2}, (np.array([1.5, np.nan], ml_dtypes.bfloat16),), ("strided",))
EVIDENCE = Evidence(CASE, (np.array([-1.5, np.nan]),), (np.array([0.0, 1.0], ml_dtypes.bfloat16),))


def record(id_: str = "neg-null-wrong-00000000") -> FindingRecord:
    return FindingRecord(
        id=id_, platform="null", operator="aten.neg.default", operator_key=OPERATOR.key, kind="wrong", realism="near",
        ratio=None, message="m", shapes=((2,),), dtypes=("bfloat16",), elements=2, found_elements=20, metrics={},
    )  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    store = FindingStore(tmp_path)
    store.put(record(), EVIDENCE, store.begin_run({}), {"reproduce.py": "print(1)\n"})
    again = FindingStore.open(tmp_path)
    assert again.all() == [record()]
    evidence = again.evidence(record().id)
    assert evidence.case.id == CASE.id
    assert evidence.actual[0].tolist() == [0.0, 1.0]
    assert (tmp_path / "findings" / record().id / "reproduce.py").read_text() == "print(1)\n"


def test_lookup_by_unique_part(tmp_path: Path) -> None:
    store = FindingStore(tmp_path)
    for id_ in ("neg-null-wrong-00000000", "neg-null-wrong-11111111"):
        store.put(record(id_), EVIDENCE, 1, {})
    assert store.get("1111").id == "neg-null-wrong-11111111"
    with pytest.raises(UnknownFinding, match="ambiguous"):
        store.get("neg")
    with pytest.raises(UnknownFinding, match="findings list"):
        store.get("absent")


def test_missing_store_and_broken_database_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownFinding, match="--output"):
        FindingStore.open(tmp_path)
    (tmp_path / "findings.sqlite").write_bytes(b"not a database, whatever it says" * 40)
    with pytest.raises(BadCorpus, match="not a database"):
        FindingStore.open(tmp_path)


LOSSES: dict[str, Callable[[Path], object]] = {
    "missing": lambda database: database.unlink(),
    "empty": lambda database: database.write_bytes(b""),
    "of another run": lambda database: replace_by_a_new_one(database),
}


def replace_by_a_new_one(database: Path) -> None:
    database.unlink()
    (folders := database.parent / "findings").rename(aside := database.parent / "aside")
    store = FindingStore(database.parent)
    store.put(record("neg-null-wrong-99999999"), EVIDENCE, store.begin_run({}), {})
    store.close()
    shutil.rmtree(folders)
    aside.rename(folders)


def two_findings(path: Path) -> list[FindingRecord]:
    """A closed store of two findings, the older one last by name."""
    store = FindingStore(path)
    records = [
        msgspec.structs.replace(record(f"neg-null-wrong-{id_}"), created=created)
        for id_, created in (("22222222", 1.0), ("11111111", 2.0))
    ]
    for each in records:
        store.put(each, EVIDENCE, store.begin_run({}), {"reproduce.py": "print(1)\n"})
    store.close()
    return records


def findings_list(path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[object, str, list[str]]:
    with pytest.raises(SystemExit) as stop:
        main(["findings", "list", "--output", str(path)])
    out, err = capfd.readouterr()
    return stop.value.code, out, err.splitlines()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_list_is_rebuilt_from_the_folders_and_told_once(
    tmp_path: Path, loss: str, capfd: pytest.CaptureFixture[str]
) -> None:
    records = two_findings(tmp_path)
    LOSSES[loss](tmp_path / "findings.sqlite")
    code, out, err = findings_list(tmp_path, capfd)
    assert code == 0
    assert all(each.id in out for each in records)
    assert len(err) == 1
    assert "findings.sqlite was rebuilt: 2 findings were missing" in err[0]
    store = FindingStore.open(tmp_path)
    assert store.notes == ()
    assert [each for each in store.all() if not each.id.endswith("9")] == records
    assert store.evidence(records[0].id).case.id == CASE.id


def test_a_run_into_a_lost_list_knows_what_was_found(tmp_path: Path) -> None:
    records = two_findings(tmp_path)
    (tmp_path / "findings.sqlite").unlink()
    store = FindingStore(tmp_path)
    assert len(store.notes) == 1
    assert store.lookup(records[0].id) == records[0]


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def link_elsewhere(folder: Path) -> None:
    folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to(folder.parents[1] / "elsewhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no record": (lambda f: (f / "finding.json").unlink(), "no finding.json"),
    "no tensors": (lambda f: (f / "case.safetensors").unlink(), "no case.safetensors"),
    "cut short": (lambda f: (f / "finding.json").write_bytes(b'{"id": "neg'), "unreadable"),
    "nested deeply": (lambda f: (f / "finding.json").write_bytes(b'{"metrics":' + b"[" * 100_000), "unreadable"),
    "other encoding": (lambda f: (f / "finding.json").write_bytes(b'{"id": "\xff"}'), "cannot be read"),
    "too large": (lambda f: (f / "finding.json").write_bytes(b" " * (1 << 20) + b"{}"), "more than 1048576 bytes"),
    "another id": (lambda f: rewrite(f / "finding.json", id="../../escape"), "'../../escape'"),
    "unknown kind": (lambda f: rewrite(f / "finding.json", kind="odd\x1b[2J\n"), "kind"),
    "no id": (lambda f: f.rename(f.with_name("Not\x1b[2J an id")), "no finding id"),
    "a link": (link_elsewhere, "link"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_malformed_folder_is_named_and_skipped(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broken, sound = two_findings(tmp_path)
    (tmp_path / "findings.sqlite").unlink()
    apply, reason = DAMAGE[damage]
    apply(tmp_path / "findings" / broken.id)
    code, out, err = findings_list(tmp_path, capfd)
    assert code == 0
    assert sound.id in out
    assert broken.id not in out
    assert len(err) == 2
    assert "1 finding was missing" in err[0]
    assert err[1].startswith("skipped findings/")
    assert reason in err[1]
    assert all(line.isprintable() for line in err)
    assert FindingStore.open(tmp_path).all() == [sound]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_list_that_cannot_be_rebuilt_is_an_error(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    records = two_findings(tmp_path)
    (tmp_path / "findings.sqlite").write_bytes(b"")
    for each in records:
        DAMAGE[damage][0](tmp_path / "findings" / each.id)
        if damage in ("no id", "a link"):  # each has but one place to go
            shutil.rmtree(tmp_path / "findings" / records[1].id)
            break
    code, out, err = findings_list(tmp_path, capfd)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert err[0].startswith("error E201: ")
    assert "restore them" in err[0]
    assert "no run has left findings in" not in err[0]


def test_a_finding_that_was_removed_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill before the files are gone leaves a folder without a row, which must not be taken for a lost one."""
    kept, removed = two_findings(tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *args, **options: None)
        FindingStore.open(tmp_path).remove(removed.id)
    assert (tmp_path / "findings" / removed.id).is_dir()
    assert FindingStore.open(tmp_path).all() == [kept]


def test_a_run_that_found_nothing_still_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    FindingStore(tmp_path).close()
    assert findings_list(tmp_path, capfd) == (0, "no findings\n", [])


@pytest.mark.parametrize("damage", ["truncated", "swapped", "missing", "pickle"])
def test_tampered_evidence_is_refused(tmp_path: Path, damage: str) -> None:
    store = FindingStore(tmp_path)
    store.put(record(), EVIDENCE, 1, {})
    path = tmp_path / "findings" / record().id / "case.safetensors"
    raw = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": raw[:-3], "swapped": raw.replace(b"aten.neg", b"aten.abs_"), "pickle": b"\x80\x04\x95" + raw}[
                damage
            ]
        )
    with pytest.raises(BadCorpus):
        store.evidence(record().id)


def test_ids_never_leave_the_directory(tmp_path: Path) -> None:
    store = FindingStore(tmp_path)
    with pytest.raises(BadCorpus):
        store.put(record("../../escape"), EVIDENCE, 1, {})
    assert "/" not in finding_id("../x", OPERATOR, "wrong", "float32", False)


def test_malformed_row_gives_one_line(tmp_path: Path) -> None:
    store = FindingStore(tmp_path)
    store.put(record(), EVIDENCE, 1, {})
    store.close()
    with sqlite3.connect(tmp_path / "findings.sqlite") as database:
        database.execute("UPDATE findings SET record = '{\"id\": 3}'")
    with pytest.raises(BadCorpus, match="unreadable"):
        FindingStore.open(tmp_path).all()


def test_kill_at_any_moment_leaves_whole_findings(tmp_path: Path) -> None:
    """A process that stores without end is killed; every finding that is listed can be read."""
    writer = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.storage.test_findings import EVIDENCE, record
from tapml_fuzz.storage.findings import FindingStore
store = FindingStore(Path({str(tmp_path)!r}))
print("ready", flush=True)
for n in range(100000):
    store.put(record(f"neg-null-wrong-{{n:08d}}"), EVIDENCE, 1, {{"reproduce.py": "x" * 5000}})
    if n == 30: print("some", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert process.stdout.readline() == "some\n"
    process.kill()
    process.wait()
    process.stdout.close()
    store = FindingStore.open(tmp_path)
    found = store.all()
    assert len(found) >= 30
    for each in found:
        store.evidence(each.id)
        assert (tmp_path / "findings" / each.id / "reproduce.py").stat().st_size == 5000


@pytest.mark.parametrize(("pragma", "cause"), [("max_page_count=1", "full"), ("query_only=1", "readonly")])
def test_a_disk_that_takes_no_more_is_told_as_such(tmp_path: Path, pragma: str, cause: str) -> None:
    store = FindingStore(tmp_path)
    store._database.execute(f"PRAGMA {pragma}")
    large = msgspec.structs.replace(record(), message="m" * 100_000)
    with pytest.raises(SystemRefusal, match=cause) as caught:
        store.put(large, EVIDENCE, 1, {})
    assert str(caught.value).startswith(f"{tmp_path / 'findings.sqlite'}: ")


def test_a_list_that_may_not_be_written_is_no_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FindingStore(tmp_path).close()
    connect = sqlite3.connect

    def locked(path: Path, **options: Any) -> sqlite3.Connection:
        database = connect(path, **options)
        database.execute("PRAGMA query_only=1")
        return database

    monkeypatch.setattr(sqlite3, "connect", locked)
    monkeypatch.setattr(storage, "_SCHEMA", "CREATE TABLE more (id TEXT)")
    with pytest.raises(SystemRefusal, match="readonly"):
        FindingStore(tmp_path)
