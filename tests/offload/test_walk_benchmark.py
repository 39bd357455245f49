"""The benchmark that walks models in processes of their own: what fails or is stopped is told and ends no other."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.offload.walk import walk_all
from benchmarks.offload.walk_process import Job, Running, descendants
from benchmarks.offload.walk_table import table, unfinished
from tapml_fuzz.core.walk_summary import FinalModelRun, Status
from tapml_fuzz.offload.ledger import FORMAT, Ledger, Trying, UnitResult, Walk
from tapml_fuzz.reporting.formats.json import as_json
from tests.summaries import walk_summary


def unit(key: str, status: Status) -> UnitResult:
    facts = {"where": "alone", "reason": "wrong", "findings": ("tanh-1",), "noticed": False, "worst": 2.0}
    return UnitResult(key, "aten.tanh", 1, status, **facts)  # type: ignore[arg-type]


def test_a_walk_that_fails_is_told_and_does_not_end_the_others(tmp_path: Path) -> None:
    jobs = [Job(str(tmp_path / name), "torch-cpu", "tvm-llvm", tmp_path / f"{name}-out") for name in ("one", "two")]
    kept: list[int] = []
    rows = walk_all(jobs, 2, None, lambda rows: kept.append(len(rows)))
    assert [row["model"] for row in rows] == ["one", "two"]
    assert all(row["error"].startswith("exit ") for row in rows), rows
    assert kept == [1, 2]
    assert "did not end (0 of ? units settled): exit " in table(rows)


def test_what_runs_when_the_time_is_over_is_stopped_and_the_rest_is_not_started(tmp_path: Path) -> None:
    jobs = [Job(str(tmp_path / name), "torch-cpu", "tvm-llvm", tmp_path / f"{name}-out") for name in ("one", "two")]
    stopped, waiting = walk_all(jobs, 1, 0.3, lambda rows: None)
    assert stopped["error"].startswith("stopped")
    assert waiting["error"].startswith("not started")
    (seconds,) = jobs[0].runs()  # so the next run resumes it
    assert seconds == stopped["wall_s"] >= 0.3
    assert not jobs[1].runs()
    assert not jobs[0].ended()


def test_a_walk_that_outlives_the_benchmark_is_timed_until_it_ends(tmp_path: Path) -> None:
    job = Job("model", "torch-cpu", "tvm-llvm", tmp_path)

    def kept(**facts: object) -> list[float]:
        (tmp_path / "runs.json").write_text(json.dumps({"arguments": job.arguments(), "seconds": [4.5], **facts}))
        return job.runs()

    assert kept() == kept(began=None) == [4.5]
    assert kept(began=1000.0) == [4.5, 0.0]
    (tmp_path / "offload.json").write_text("{}")
    os.utime(tmp_path / "offload.json", (1012.25, 1012.25))
    (tmp_path / "findings").mkdir()
    assert job.ended()
    assert kept(began=1000.0) == [4.5, 12.2]
    assert Job("another", "torch-cpu", "tvm-llvm", tmp_path).runs() == []


def test_stopping_ends_sessions_that_the_walk_started(tmp_path: Path) -> None:
    sleeper = "import time; time.sleep(600)"
    starts = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeper!r}], start_new_session=True)"
    program = f"{starts}; print('started', flush=True); {sleeper}"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    walk = Running(Job(str(tmp_path / "none"), "torch-cpu", "tvm-llvm", tmp_path / "out"))
    walk._process.kill()
    walk._process.wait()
    walk._process = parent
    (worker,) = descendants(parent.pid)
    walk.stop("stopped")
    parent.stdout.close()
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(worker)], capture_output=True, text=True).stdout.strip()
    assert state[:1] in ("", "Z")  # ended, whether or not its new parent has noticed


def test_an_unfinished_ledger_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    Ledger(tmp_path).begin(Walk(FORMAT, "model", "0", "torch-cpu", "tvm-llvm", {"apache-tvm": "1"}), resume=False)
    for line in (Trying("a"), unit("a", "moved"), unit("b", "blocked")):
        Ledger(tmp_path).add(line)
    with (tmp_path / "walk.jsonl").open("a") as file:
        file.write('{"type": "unit", "key"')
    row = unfinished(tmp_path)
    assert (row["settled"], row["moved"], row["blocked"]) == (2, 1, 1)
    assert row["versions"] == {"apache-tvm": "1"}
    assert [(unit["key"], unit["findings"]) for unit in row["stay"]] == [("b", ("tanh-1",))]


def test_a_row_of_an_ended_walk_says_how_the_model_does(tmp_path: Path) -> None:
    job = Job("model", "torch-cpu", "tvm-llvm", tmp_path)
    (tmp_path / "runs.json").write_text(json.dumps({"arguments": job.arguments(), "seconds": [4.5]}))

    def shown(**final: Any) -> str:
        summary = walk_summary(final=FinalModelRun(**final))
        (tmp_path / "offload.json").write_text(as_json(summary))
        return table([json.loads(json.dumps(job.row("")))])

    assert "| 2/3 | within its bound (0.25); cosine 1 | 4.5s |" in shown(failed=False, worst=0.25, seen="cosine 1")
    assert "outside its bound (inf); cosine 0" in shown(failed=True, worst=math.inf, seen="cosine 0")
    assert "does not run: it is gone" in shown(failed=True, failure="it is gone")
    assert "\n- model on tvm-llvm: blocked aten.gelu(float32[a]): wrong (gelu-1)\n" in shown(failed=True)
