"""A summary as JSON: strict, with the keys that programs read, and read back, old ones too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tapml_fuzz.core.errors import BadSummary
from tapml_fuzz.core.summary import FindingEntry, RunSummary
from tapml_fuzz.core.walk_summary import FinalModelRun, FinalRun, OwnRunSummary
from tapml_fuzz.reporting.formats.json import as_json, model_walk_summary, run_summary
from tapml_fuzz.storage.findings import FindingRecord
from tests import summaries

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


def test_what_is_written_is_read_back() -> None:
    summary = summaries.run_summary(interrupted=True, unjudged={"tanh-0": "random"})
    assert run_summary(as_json(summary)) == summary


def test_keys_are_those_that_programs_read() -> None:
    """As they have been since the first release; only `format` is new."""
    written = json.loads(as_json(summaries.run_summary()))
    assert set(written) == {
        "format", "version", "seed", "budget", "reference", "interrupted", "elapsed_s", "trials", "cases", "elements",
        "builds", "time_s", "platforms", "operators", "unjudged", "findings",
    }  # fmt: skip
    assert written["format"] == 1
    assert list(written["time_s"]) == ["generate", "reference", "candidate", "oracle", "build", "reduce"]
    assert set(written["platforms"]["echo"]) == {
        "trials", "findings", "builds", "unreached", "refused", "refusal", "device", "versions", "reference",
    }  # fmt: skip
    (operator,) = written["operators"].values()
    assert set(operator) == {"operator", "trials", "findings", "platforms"}
    assert set(operator["platforms"]["echo"]) == {"trials", "worst_passing_ratio", "findings"}
    (finding,) = written["findings"]
    assert set(finding) == {*FindingRecord.__struct_fields__, "new"}


def test_an_entry_has_what_its_record_has() -> None:
    mine = {f.name: f.type for f in msgspec.structs.fields(FindingEntry)}
    theirs = {f.name: f.type for f in msgspec.structs.fields(FindingRecord)}
    assert mine == {**theirs, "new": bool}


def test_numbers_that_json_does_not_have_become_null() -> None:
    operator = summaries.run_summary().operators["tanh-0"]
    pair = replace(operator.platforms["echo"], worst_passing_ratio=math.inf)
    summary = summaries.run_summary(
        operators={"tanh-0": replace(operator, platforms={"echo": pair})},
        findings=(summaries.entry(ratio=math.nan, metrics={"ratio": math.inf, "histogram": (1, 2)}),),
    )

    def refused(text: str) -> Any:
        raise AssertionError(text)

    text = as_json(summary)
    written = json.loads(text, parse_constant=refused)
    assert written["findings"][0]["ratio"] is None
    assert written["findings"][0]["metrics"] == {"ratio": None, "histogram": [1, 2]}
    assert run_summary(text).operators["tanh-0"].platforms["echo"].worst_passing_ratio is None


@pytest.mark.parametrize("path", sorted(RESULTS.glob("run-*.json")), ids=lambda path: path.stem)
def test_summaries_of_before_are_still_read(path: Path) -> None:
    raw = json.loads(path.read_text())
    summary = run_summary(path.read_bytes())
    assert summary.trials == raw["trials"] == sum(platform.trials for platform in summary.platforms.values())
    assert [f.id for f in summary.findings] == [f["id"] for f in raw["findings"]]
    assert len(summary.operators) == len(raw.get("operators", {}))
    assert not summary.unjudged


@pytest.mark.parametrize("raw", [b"{}", b"nothing", b"\xff\xfe", b"[" * 100000, b'{"trials": "many"}'])
def test_what_is_no_summary_is_refused(raw: bytes) -> None:
    with pytest.raises(BadSummary, match="not the summary of a run"):
        run_summary(raw)


def test_a_later_format_is_refused() -> None:
    later: RunSummary = summaries.run_summary(format=2)
    with pytest.raises(BadSummary, match="format 2"):
        run_summary(as_json(later))


_OF_EVERY_WALK = {
    "model", "digest", "source", "target", "versions", "units", "moved", "blocked", "unsupported", "elapsed_s", "task",
    "nodes", "source_nodes", "final",
}  # fmt: skip


def test_keys_of_a_walk_are_those_that_programs_read() -> None:
    written = json.loads(as_json(summaries.walk_summary()))
    assert set(written) == {*_OF_EVERY_WALK, "recordings"}
    assert (written["source"], written["source_nodes"]) == ("torch-cpu", 2)
    for unit in written["units"]:
        assert set(unit) == {
            "key", "operator", "calls", "status", "where", "reason", "findings", "partners", "noticed", "worst",
            "view", "growth", "seconds",
        }  # fmt: skip
    assert set(written["nodes"][0]) == {"graph", "node", "module", "key", "status", "ratio"}
    assert set(written["recordings"][0]) == {"label", "nodes", "on_host"}
    assert set(written["final"]) == {
        "failed", "worst", "worst_value", "view", "seen", "node_seconds", "copied_bytes", "shared_tensors",
    }  # fmt: skip
    assert written["final"]["view"] == {"cosine": 1.0, "agreement": None, "divergence": None, "same_text": None}


def test_keys_of_a_walk_of_libraries_are_those_that_programs_read() -> None:
    written = json.loads(as_json(summaries.libraries_summary()))
    assert set(written) == {*_OF_EVERY_WALK, "devices", "functions", "notes", "own"}
    assert written["nodes"] == 1
    (function,) = written["functions"]
    assert set(function) == {"name", "calls", "alone", "slack", "terms", "seconds_a", "seconds_b"}
    assert set(written["final"]) == {"failed", "worst", "worst_value", "view"}
    assert written["own"] == {"failed": False, "worst": 0.5, "view": None, "identical_to_final": True}


def test_a_run_that_did_not_come_to_its_end_has_only_the_reason() -> None:
    own, final = OwnRunSummary(failed=True, failure="signal 11"), FinalRun(failed=True, failure="it is gone")
    written = json.loads(as_json(summaries.libraries_summary(own=own, final=final)))
    assert written["own"] == {"failed": True, "failure": "signal 11"}
    assert written["final"] == {"failed": True, "failure": "it is gone"}


def test_a_walk_is_read_back() -> None:
    summary = summaries.walk_summary()
    assert model_walk_summary(as_json(summary)) == summary
    endless = summaries.walk_summary(final=FinalModelRun(failed=True, worst=math.inf, worst_value="add"))
    assert model_walk_summary(as_json(endless)).final == FinalModelRun(failed=True, worst_value="add")
    with pytest.raises(BadSummary, match="not the summary of a walk"):
        model_walk_summary(as_json(summaries.libraries_summary()))
