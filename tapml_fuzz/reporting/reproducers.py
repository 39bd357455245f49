"""The texts that lie beside a finding."""

from __future__ import annotations

from collections.abc import Mapping

from tapml_fuzz.reporting.script import pytest_file
from tapml_fuzz.storage.findings import Evidence, FindingRecord


def reproducers(record: FindingRecord, evidence: Evidence) -> Mapping[str, str]:
    """Reproducer files by name."""
    name = record.id.replace("-", "_")
    return {f"test_{name}.py": pytest_file(record, evidence)}
