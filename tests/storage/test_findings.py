from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.errors import BadCorpus, UnknownFinding
from tapml_fuzz.core.operator import Operator, Product, Slot
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
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_findings import EVIDENCE, record
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
