"""`reproduce`: exit 1 while a finding stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tapml_fuzz.api.replay import Replay
from tapml_fuzz.core.case import Case
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.storage.findings import FindingStore
from tests.cli.conftest import Command
from tests.storage.test_findings import CASE, EVIDENCE, record


@pytest.mark.parametrize(
    ("verdict", "code", "line"),
    [
        (Verdict("wrong", "far off"), 1, "still fails: wrong: far off"),
        (Verdict("permitted", "as specified"), 0, "still differs, and is permitted: as specified"),
        (Verdict(None, "close"), 0, "no longer fails (close)"),
        (Verdict(None), 0, "no longer fails (within the error bound)"),
    ],
)
def test_the_verdict_of_today_decides(
    verdict: Verdict, code: int, line: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replay_case(platform: str, case: Case, reference: str) -> Replay:
        assert (platform, case.id, reference) == ("null", CASE.id, "torch-cpu")
        return Replay(verdict, reference)

    monkeypatch.setattr("tapml_fuzz.api.replay.replay_case", replay_case)
    store = FindingStore(tmp_path)
    store.put(record(), EVIDENCE, store.begin_run({}), {})
    done = command("reproduce", "0000", "--output", tmp_path)
    assert (done.code, done.out) == (code, f"{record().id}: {line}\n")


def test_another_reference_than_the_finding_had_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(platform: str, case: Case, reference: str) -> Replay:
        assert reference == "torch-cuda"
        return Replay(Verdict(None), "torch-cpu")

    monkeypatch.setattr("tapml_fuzz.api.replay.replay_case", elsewhere)
    store = FindingStore(tmp_path)
    store.put(replace(record(), reference="torch-cuda"), EVIDENCE, store.begin_run({}), {})
    done = command("reproduce", "0000", "--output", tmp_path)
    assert done.out.startswith("against torch-cpu, since torch-cuda cannot run here\n")


def test_what_is_not_there_is_one_line(command: Command, tmp_path: Path) -> None:
    done = command("reproduce", "x", "--output", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error E205: no run has left findings in ")
