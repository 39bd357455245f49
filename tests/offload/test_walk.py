"""Walks of a real model's first layer to a twin of torch with faults planted: each is pinned to its operator."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.offload.kinds import KINDS
from benchmarks.offload.planted import Plan
from tapml_fuzz.api.offload_model import OffloadEvent, OffloadOptions, offload, prepared
from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.offload.report import OffloadReport
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.units import ordered, units_of
from tapml_fuzz.offload.walk import Settled
from tapml_fuzz.reporting.formats.json import as_json, model_walk_summary
from tapml_fuzz.reporting.formats.offload_html import as_html
from tests.offload.conftest import TEXTS
from tests.offload.planting import pair_of, plan

WHERE = "benchmarks.offload.planted:Planted?"


def faults_of(subject: Subject) -> dict[str, str]:
    """One fault of each kind, each in an operator of its own that it shows in."""
    wanted = {"value": "addmm", "overflow": "gelu", "off by one": "softmax", "wrong stride": "bmm",
              "nondeterminism": "native_layer_norm"}  # fmt: skip
    assert wanted.keys() == KINDS.keys()
    return {next(k for k in subject.operators if k.startswith(name)): kind for kind, name in wanted.items()}


def walked(model: Path, path: str, output: Path, events: list[OffloadEvent], *, resume: bool = False) -> OffloadReport:
    options = OffloadOptions("planted", batches=1, where=WHERE + path, resume=resume)
    return offload(str(model), TEXTS, options, output, events.append)


@pytest.fixture(scope="module")
def walk(first_layer: Path, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[OffloadReport, Path]:
    folder = tmp_path_factory.mktemp("walk")
    path = plan(folder, faults_of(subject), [pair_of(subject, "linalg_vector_norm")])
    return walked(first_layer, path, folder / "out", []), folder


def test_each_fault_is_pinned_to_its_operator_and_nobody_else(
    walk: tuple[OffloadReport, Path], subject: Subject
) -> None:
    report, _ = walk
    alone = {unit.key for unit in report.units if unit.where == "alone"}
    assert alone == set(faults_of(subject))
    first, second = pair_of(subject, "linalg_vector_norm")
    in_model = [unit for unit in report.units if unit.where == "model"]
    assert [{unit.key, *unit.partners} for unit in in_model] == [{first, second}]
    assert "alone it is right" in in_model[0].reason
    assert in_model[0].growth
    stay = alone | {in_model[0].key}
    assert {unit.key for unit in report.units if unit.status == "moved"} == subject.operators.keys() - stay
    assert report.final is not None
    assert not report.final.failed
    assert report.reference_nodes == sum(step.operator.key in stay for step in report.subject.recordings[0].steps)


def test_a_walk_owes_nothing_to_what_ran_before_it(first_layer: Path, subject: Subject, tmp_path: Path) -> None:
    """A weight's transpose is computed once for all moves, and was wrong before."""
    key = next(step.operator.key for step in subject.recordings[0].steps if step.operator.short_name == "permute")
    path = plan(tmp_path, {key: "kept tensors"})
    options = OffloadOptions("planted", batches=1, where=WHERE + path)
    with prepared(str(first_layer), TEXTS, options) as ready:
        assert ready.subject.check(ready.hybrid, {key: "planted"}).failed
        Plan("torch-cpu").write(Path(path))
        assert ready.walk(tmp_path / "walk").blocked == ()


def test_who_is_wrong_at_some_runs_has_a_finding_with_a_reproducer(
    first_layer: Path, subject: Subject, tmp_path: Path
) -> None:
    key = next(k for k in subject.operators if k.startswith("gelu"))
    report = walked(first_layer, plan(tmp_path, {key: "every tenth run"}), tmp_path / "out", [])
    (unit,) = report.blocked
    assert (unit.key, unit.where) == (key, "alone")
    assert "on the same values differ" in unit.reason
    (finding,) = unit.findings
    assert "nondeterministic" in finding
    folder = tmp_path / "out" / "findings" / finding
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".py"}
    record = json.loads((folder / "finding.json").read_text())
    assert record["message"].startswith("runs on the same values differ")


def test_what_fuzzing_finds_is_filed_and_keeps_nobody(first_layer: Path, subject: Subject, tmp_path: Path) -> None:
    key = next(k for k in subject.operators if k.startswith("gelu"))
    where = "tests.offload.planting:Unbounded"
    options = OffloadOptions("unbounded", batches=1, where=where, fuzz=0.4, order="gelu,*", reduce=0.5)
    report = offload(str(first_layer), TEXTS, options, tmp_path)
    assert report.blocked == ()
    found = {unit.key: unit.findings for unit in report.units if unit.findings}
    assert list(found) == [key]
    for finding in found[key]:
        assert (tmp_path / "findings" / finding / "case.safetensors").exists()


def test_what_fails_has_a_finding_with_a_reproducer(walk: tuple[OffloadReport, Path]) -> None:
    report, folder = walk
    for unit in report.units:
        assert bool(unit.findings) == (unit.where == "alone"), unit
        for finding in unit.findings:
            assert (folder / "out" / "findings" / finding / "case.safetensors").exists()


def test_what_the_model_notices_is_ranked_before_what_it_does_not(walk: tuple[OffloadReport, Path]) -> None:
    noticed = [unit.noticed for unit in walk[0].blocked]
    assert noticed == sorted(noticed, key=lambda seen: not seen)


def test_a_walk_resumed_validates_nothing_again(
    walk: tuple[OffloadReport, Path], first_layer: Path, tmp_path: Path
) -> None:
    report, folder = walk
    events: list[OffloadEvent] = []
    again = walked(first_layer, str(folder / "plan.json"), folder / "out", events, resume=True)
    assert again.units == report.units
    assert all(event.resumed for event in events if isinstance(event, Settled))
    options = OffloadOptions("planted", batches=2, where=f"{WHERE}{folder / 'plan.json'}", resume=True)
    with pytest.raises(BadOption, match="something else"):
        offload(str(first_layer), TEXTS, options, folder / "out")


def test_the_summary_is_read_back_and_shown(walk: tuple[OffloadReport, Path]) -> None:
    report, _ = walk
    summary = report.summary()
    assert model_walk_summary(as_json(summary)) == summary
    assert summary.moved + summary.blocked + summary.unsupported == len(summary.units) == len(report.units)
    assert len(summary.nodes) == report.total_nodes
    html = as_html(summary)
    assert html.count('class="node"') >= len(summary.nodes)
    assert not re.search(r"(src|href)=\"?https?:", html)
    for unit in report.blocked:
        assert unit.operator.split("(")[0] in html


def test_orders(subject: Subject) -> None:
    units = units_of(subject)
    assert [u.key for u in ordered(units, "graph")] == [u.key for u in units]
    common = ordered(units, "common")
    assert [u.calls for u in common] == sorted((u.calls for u in units), reverse=True)
    globbed = ordered(units, "aten.gelu*,softmax")
    assert [u.operator.short_name for u in globbed[:2]] == ["gelu", "softmax"]
    assert sorted(u.key for u in globbed) == sorted(u.key for u in units)
    with pytest.raises(BadOption, match="matches no operator"):
        ordered(units, "nothing*")


@pytest.mark.parametrize(("source", "target"), [("tvm-llvm", "torch-cpu"), ("torch-cpu", "torch-cpu")])
def test_walks_that_make_no_sense_are_refused(source: str, target: str) -> None:
    with pytest.raises(BadOption):
        OffloadOptions(target, source)
