"""The real command line on the real corpus, as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tapml_fuzz(*arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tapml_fuzz", *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """One run over three operators on every platform that is available here."""
    folder = tmp_path_factory.mktemp("run")
    operators = [a for glob in ("softmax", "gelu", "view-e8*") for a in ("--operator", glob)]
    done = tapml_fuzz("run", *operators, "--budget", "240trials", "--seed", "5", "--json", "out.json", cwd=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return folder, json.loads((folder / "out.json").read_text())


def test_summary_has_what_is_promised(finished: tuple[Path, dict[str, object]]) -> None:
    folder, summary = finished
    promised = {
        "version",
        "seed",
        "elapsed_s",
        "trials",
        "elements",
        "builds",
        "time_s",
        "platforms",
        "operators",
        "findings",
    }
    assert promised <= set(summary)
    assert set(summary["time_s"]) == {"generate", "reference", "candidate", "oracle", "build", "reduce"}  # type: ignore[call-overload]
    assert summary["trials"] > 0  # type: ignore[operator]
    for platform in summary["platforms"].values():  # type: ignore[attr-defined]
        assert platform["reference"] or platform["trials"] > 0
    for finding in summary["findings"]:  # type: ignore[attr-defined]
        wanted = {
            "id",
            "platform",
            "operator",
            "kind",
            "realism",
            "ratio",
            "shapes",
            "dtypes",
            "elements",
            "reproducer",
        }
        assert wanted <= set(finding)
        assert (folder / "tapml-fuzz-results" / finding["reproducer"]).is_file()
    report = json.loads((folder / "tapml-fuzz-results" / "report.json").read_text())
    assert report == summary
    assert "# tapml_fuzz report" in (folder / "tapml-fuzz-results" / "report.md").read_text()


def test_same_seed_and_trials_give_the_same_trials(finished: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    arguments = ("--operator", "tanh", "--platform", "tvm-llvm", "--budget", "60trials", "--seed", "9", "--json", "-")
    first, second = (tapml_fuzz("run", *arguments, "--output", name, cwd=tmp_path) for name in ("a", "b"))
    keys = ("trials", "cases", "elements")
    assert [json.loads(first.stdout)[k] for k in keys] == [json.loads(second.stdout)[k] for k in keys]


def test_findings_can_be_listed_shown_and_reproduced(finished: tuple[Path, dict[str, object]]) -> None:
    folder, summary = finished
    listed = tapml_fuzz("findings", "list", cwd=folder)
    assert listed.returncode == 0
    found = [f for f in summary["findings"] if f["kind"] != "permitted"]  # type: ignore[attr-defined]
    if not found:
        assert "no findings" in listed.stdout
        return
    id_ = found[0]["id"]
    assert id_ in listed.stdout
    shown = tapml_fuzz("findings", "show", id_, cwd=folder)
    assert "expected" in shown.stdout
    again = tapml_fuzz("reproduce", id_, cwd=folder)
    assert again.returncode == 1, again.stdout + again.stderr
    assert "still fails" in again.stdout


def test_every_reproducer_runs_as_it_is(finished: tuple[Path, dict[str, object]]) -> None:
    folder, summary = finished
    for finding in summary["findings"]:  # type: ignore[attr-defined]
        script = folder / "tapml-fuzz-results" / finding["reproducer"]
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, cwd=folder)
        assert done.returncode == int(finding["kind"] != "permitted"), done.stdout + done.stderr
        assert "expected 0" in done.stdout
        if finding["kind"] not in ("build-error", "run-error", "crash", "timeout"):
            assert "actual 0" in done.stdout


def test_pytest_file_fails_while_the_finding_stands(finished: tuple[Path, dict[str, object]]) -> None:
    folder, summary = finished
    found = [f for f in summary["findings"] if f["kind"] not in ("permitted", "reference-suspect")]  # type: ignore[attr-defined]
    for finding in found[:1]:
        (test,) = (folder / "tapml-fuzz-results" / finding["reproducer"]).parent.glob("test_*.py")
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", test], capture_output=True, text=True, cwd=folder)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "assert not verdict.failed" in done.stdout or "AssertionError" in done.stdout


def test_interrupt_keeps_findings_and_writes_the_report(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tapml_fuzz", "run", "--platform", "tvm-llvm", "--budget", "100s"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "operators on" in line:
            break
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    report = json.loads((tmp_path / "tapml-fuzz-results" / "report.json").read_text())
    assert report["interrupted"]
    assert "interrupted after" in output


def test_a_run_that_ran_nothing_says_why_and_does_not_look_like_one_that_found_nothing(tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(
        '# [tapml_fuzz]\n# operator = "aten.tanh.default"\n# callable = "tanh"\n# dtypes = ["float64"]\n'
        "import torch\n\n\ndef tanh(x):\n    return torch.tanh(x)\n"
    )
    arguments = ("--platform", "user:double.py", "--budget", "4trials", "--json", "out.json")
    done = tapml_fuzz("run", *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error E303: nothing ran")
    assert "user:double.py refuses " in line
    assert "user:double.py takes no float32 (input 0); it takes float64" in line
    assert "--operator" in line
    summary = json.loads((tmp_path / "out.json").read_text())
    assert summary["trials"] == 0
    assert summary["platforms"]["user:double.py"]["refused"] == summary["cases"] > 0


def test_tampered_corpus_is_refused(tmp_path: Path) -> None:
    import shutil

    corpus = tmp_path / "corpus"
    shutil.copytree(ROOT / "corpus", corpus)
    victim = next((corpus / "seeds").glob("tanh*/*.safetensors"))
    raw = bytearray(victim.read_bytes())
    raw[-5] ^= 1
    victim.write_bytes(bytes(raw))
    done = tapml_fuzz("run", "--corpus", str(corpus), "--operator", "tanh", "--budget", "4trials", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "not what was recorded" in done.stderr
    checked = tapml_fuzz("corpus", "verify", "--corpus", str(corpus), cwd=tmp_path)
    assert checked.returncode != 0
