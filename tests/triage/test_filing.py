"""Failures that become findings in a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.events import Event, FindingFound, FindingMerged, FindingReduced
from tapml_fuzz.core.outcome import Ok
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.engine.failures import Failure
from tapml_fuzz.engine.trial import Result
from tapml_fuzz.judge import judge
from tapml_fuzz.oracle import truth
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.storage.findings import FindingStore
from tapml_fuzz.strategies import SeedSet, from_corpus
from tapml_fuzz.triage.evidence import evidence_of, ratio_of, realism_of
from tapml_fuzz.triage.filing import Filer
from tapml_fuzz.triage.fingerprint import fingerprint_of


@pytest.fixture(scope="module")
def tanh() -> SeedSet:
    return from_corpus("tanh")


def wrong(case: Case, platform: str = "tvm-opencl") -> Result:
    """A result that is off by a thousandth everywhere."""
    expected = truth(case.operator, case.tensors, case.sizes)
    outcome = Ok((np.tanh(case.tensors[0]) + np.float32(1e-3),))
    return Result(platform, case, judge(case, outcome, expected), outcome, expected)


def special(seed: Case) -> Case:
    """The seed with a subnormal among its values."""
    tensor = seed.tensors[0].copy()
    tensor.flat[0] = np.float32(1e-40)
    return seed.with_tensors((tensor,))


def failure_of(tanh: SeedSet, found: Case, best: Case) -> Failure:
    result = wrong(found)
    fingerprint = fingerprint_of(result, tanh)
    assert fingerprint is not None
    return Failure(fingerprint, result, wrong(best), tanh)


def filer(store: FindingStore, heard: list[Event]) -> Filer:
    return Filer(store, store.begin_run({}), heard.append, "torch-cuda", {}, reproducers)


def test_a_finding_states_its_facts_and_its_reference_platform(tanh: SeedSet, tmp_path: Path) -> None:
    heard: list[Event] = []
    store = FindingStore(tmp_path)
    mine = filer(store, heard)
    failure = failure_of(tanh, tanh.seeds[0], tanh.seeds[0])
    assert mine.claim(failure.fingerprint)
    assert not mine.claim(failure.fingerprint)
    mine.found(failure)
    mine.reduced(failure)
    record = store.get(failure.fingerprint)
    assert (record.reference, record.platform, record.kind) == ("torch-cuda", "tvm-opencl", "wrong")
    assert (record.realism, record.reduced, record.ratio) == ("observed", True, ratio_of(failure.best))
    assert [type(event) for event in heard] == [FindingFound, FindingReduced]
    test = next((tmp_path / "findings" / record.id).glob("test_*.py")).read_text()
    assert "reference='torch-cuda'" in test


def test_a_finding_of_before_was_compared_with_the_processor(tanh: SeedSet, tmp_path: Path) -> None:
    store = FindingStore(tmp_path)
    mine = filer(store, [])
    failure = failure_of(tanh, tanh.seeds[0], tanh.seeds[0])
    mine.found(failure)
    note = tmp_path / "findings" / failure.fingerprint / "finding.json"
    assert '"reference": "torch-cuda"' in note.read_text()
    with store._list() as database:
        database.execute("UPDATE findings SET record = json_remove(record, '$.reference')")
    assert store.get(failure.fingerprint).reference == "torch-cpu"


def test_what_became_realistic_while_it_was_reduced_is_the_realistic_finding(tanh: SeedSet, tmp_path: Path) -> None:
    heard: list[Event] = []
    store = FindingStore(tmp_path)
    mine = filer(store, heard)
    odd = failure_of(tanh, special(tanh.seeds[0]), tanh.seeds[0])
    assert mine.claim(odd.fingerprint)
    mine.found(odd)
    mine.reduced(odd)
    (record,) = store.all()
    assert record.id == fingerprint_of(odd.best, tanh) != odd.fingerprint
    assert FindingMerged(odd.fingerprint, record.id) in heard
    assert mine.new == {record.id}
    # The next one that ends there is known.
    assert mine.claim(odd.fingerprint) is False


def test_evidence_is_the_case_the_truth_and_the_outputs(tanh: SeedSet) -> None:
    failure = failure_of(tanh, special(tanh.seeds[0]), tanh.seeds[0])
    evidence = evidence_of(failure.best)
    assert evidence.case is failure.best.case
    assert evidence.actual == failure.best.outcome.outputs  # type: ignore[union-attr]
    assert [bound is not None for bound in evidence.bounds] == [True]
    assert realism_of(failure) == "observed"


@pytest.mark.parametrize(("kind", "same"), [("build-error", True), ("dtype", True), ("wrong", False)])
def test_special_values_make_another_finding_only_where_values_matter(tanh: SeedSet, kind: str, same: bool) -> None:
    def fingerprint(case: Case) -> str | None:
        verdict = Verdict(kind)  # type: ignore[arg-type]
        return fingerprint_of(Result("tvm-llvm", case, verdict, Ok(()), truth(case.operator, case.tensors, {})), tanh)

    assert (fingerprint(tanh.seeds[0]) == fingerprint(special(tanh.seeds[0]))) is same
    assert fingerprint_of(Result("a", tanh.seeds[0], Verdict(None), Ok(()), wrong(tanh.seeds[0]).truth), tanh) is None
