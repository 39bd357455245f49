"""A user's own kernels on the command line: a faulty one is found, its correct twin is not, and nothing else is run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tapml_fuzz.cli.campaign import _implemented, load_seed_sets
from tapml_fuzz.cli.selection import select_operators
from tapml_fuzz.core.errors import UnknownOperator
from tapml_fuzz.platforms.base import Info
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.reporting.formats.terminal import Terminal
from tests.end_to_end.test_command_line import tapml_fuzz
from tests.platforms.kernel_sources import KERNELS

GLOBS = ("softmax", "gelu")


def test_faulty_kernel_is_found_and_its_twin_is_not(tmp_path: Path) -> None:
    info = InProcessSession(f"user:{KERNELS / 'softmax.cl'}").info()
    if not info.available:
        pytest.skip(f"softmax.cl: {info.reason}")
    text = (KERNELS / "softmax.cl").read_text()
    faulty = text.replace("[row + column] - largest", "[row + column]")  # forgets to subtract the maximum
    assert faulty != text
    (tmp_path / "good.cl").write_text(text)
    (tmp_path / "bad.cl").write_text(faulty)
    given = ("--platform", "user:good.cl", "--platform", "user:bad.cl", "--budget", "40trials", "--workers", "2")
    done = tapml_fuzz("run", *given, "--json", "out.json", "--output", "out", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "user:good.cl implements aten._softmax.default: softmax-29a9c5a4" in done.stdout
    assert "\n1 operators on user:good.cl, user:bad.cl against " in done.stdout
    summary = json.loads((tmp_path / "out.json").read_text())
    assert list(summary["operators"]) == ["softmax-29a9c5a4"]
    assert [summary["platforms"][f"user:{name}.cl"]["trials"] for name in ("good", "bad")] == [20, 20]
    assert {finding["platform"] for finding in summary["findings"]} == {"user:bad.cl"}
    for finding in summary["findings"]:
        assert finding["kind"] in ("wrong", "nonfinite")
        assert "__kernel void softmax" in (tmp_path / "out" / finding["reproducer"]).read_text()


def test_only_what_some_candidate_implements_is_fuzzed() -> None:
    sources = load_seed_sets(*select_operators(None, GLOBS))
    said = io.StringIO()
    softmax, everything = Info("user:a", True, operators=("softmax",)), Info("tvm-llvm", True)
    kept = _implemented(sources, [softmax], Terminal(said))
    assert [source.operator.short_name for source in kept.values()] == ["softmax"]
    assert "user:a implements softmax: softmax-29a9c5a4" in said.getvalue()
    assert _implemented(sources, [softmax, everything], Terminal(said)) == sources


def test_candidate_that_implements_nothing_that_is_fuzzed_is_one_line() -> None:
    sources = load_seed_sets(*select_operators(None, GLOBS))
    with pytest.raises(
        UnknownOperator, match=r"user:a implements tanh, which is not among the operators to fuzz .*corpus"
    ):
        _implemented(sources, [Info("user:a", True, operators=("tanh",))], Terminal(io.StringIO()))


def test_header_that_is_not_as_it_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.cl").write_text((KERNELS / "softmax.cl").read_text().replace('// kernel = "softmax"\n', ""))
    done = tapml_fuzz("run", "--platform", "user:mine.cl", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error E206: mine.cl: Object missing required field `kernel`")
    assert len(done.stderr.splitlines()) == 1
