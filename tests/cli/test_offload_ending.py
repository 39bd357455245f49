"""What both walks of `offload` say of a unit, and at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tapml_fuzz.cli.offload_ending import ending, settled, worst, write_reports
from tapml_fuzz.cli.options import DEFAULT_OUTPUT
from tapml_fuzz.core.walk_summary import View
from tapml_fuzz.offload.ledger import FORMAT, UnitResult, Walk
from tapml_fuzz.offload.report import WalkReport
from tapml_fuzz.offload.subject import Grown, ModelCheck
from tapml_fuzz.offload.walk import Settled
from tests.summaries import walk_summary

MOVED = UnitResult("t", "aten.tanh", 3, "moved", worst=0.5)
IN_MODEL = UnitResult("a", "aten.add", 1, "blocked", "model", "off", partners=("t",), noticed=True)
BLOCKED = UnitResult("gelu-0", "aten.gelu", 1, "blocked", "alone", "wrong", ("gelu-1",), noticed=False)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (MOVED, "aten.tanh: 3 calls, the model's worst value at 0.5 of what is allowed"),
        (BLOCKED, "aten.gelu: wrong; the model does not notice"),
        (IN_MODEL, "aten.add: off; only together with t"),
        (UnitResult("a", "aten.add", 1, "unsupported", reason="no add"), "aten.add: no add"),
    ],
)
def test_a_line_for_every_unit(result: UnitResult, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    settled(Settled(result, 2, 30))
    said = capsys.readouterr().out
    assert said == f"  2/30 {result.status:<11} {line}\n"
    settled(Settled(result, 2, 30, resumed=True))
    assert capsys.readouterr().out.rstrip().endswith("(from the ledger)")


@pytest.mark.parametrize(("output", "where"), [(DEFAULT_OUTPUT, ""), (Path("out"), " --output out")])
def test_the_ending_says_what_stays_and_how_to_look_at_it(
    output: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = Walk(FORMAT, "m", "0", "torch-cpu", "tvm-llvm", {})
    report = WalkReport(walk=walk, units=(MOVED, BLOCKED), final=None, failure="", seconds=1.0)
    ending("first", report, output, "last", ["note"])
    assert capsys.readouterr().out.splitlines() == [
        "first",
        "  blocked gelu-0: wrong",
        f"    python -m tapml_fuzz findings show gelu-1{where}",
        "  note",
        "last",
    ]


def test_the_worst_value_is_named() -> None:
    grown = (Grown("a", "", "a", "a:0", 0.25), Grown("b", "", "b", "b:0", 0.5))
    assert worst(ModelCheck(grown, View(1.0), ())) == "b:0 at 0.5"


def test_reports_go_to_the_folder_and_where_json_says(tmp_path: Path) -> None:
    write_reports(walk_summary(), tmp_path / "out", None)
    write_reports(walk_summary(), tmp_path / "out", tmp_path / "more.json")
    assert (tmp_path / "out" / "offload.html").is_file()
    assert json.loads((tmp_path / "more.json").read_text()) == json.loads((tmp_path / "out/offload.json").read_text())
