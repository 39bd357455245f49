"""The reproducer files that lie beside a finding."""

from __future__ import annotations

from collections.abc import Mapping

from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.reporting.standalone import pytest_file, standalone_reproducer
from tapml_fuzz.storage.findings import Evidence, FindingRecord


def reproducers(record: FindingRecord, evidence: Evidence, reproducer: Reproducer | None) -> Mapping[str, str]:
    """The texts of reproducer files by name, the one to show first.

    That is `reproduce.py` where the platform has given a `reproducer`, else the pytest file; a permitted difference has
    no pytest file.
    """
    name = record.id.replace("-", "_")
    # What a specification permits is no test's business: nothing would have to change for it to pass.
    files = {} if record.kind == "permitted" else {f"test_{name}.py": pytest_file(record, evidence)}
    return (
        files if reproducer is None else {"reproduce.py": standalone_reproducer(record, evidence, reproducer), **files}
    )
