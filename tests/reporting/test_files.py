from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tapml_fuzz.reporting.files import write_json, write_reports, write_walk_reports
from tapml_fuzz.reporting.formats.json import model_walk_summary
from tapml_fuzz.reporting.formats.json import run_summary as read
from tests.summaries import libraries_summary, run_summary, walk_summary


def test_a_run_leaves_a_report_for_programs_and_one_for_people(tmp_path: Path) -> None:
    write_reports(tmp_path / "new", run_summary(trials=1))
    write_reports(tmp_path / "new", run_summary())
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"report.json", "report.md"}
    assert read((tmp_path / "new" / "report.json").read_bytes()) == run_summary()
    assert "10 trials" in (tmp_path / "new" / "report.md").read_text()


def test_a_walk_leaves_its_summary_and_of_a_model_a_page(tmp_path: Path) -> None:
    write_walk_reports(tmp_path / "model", walk_summary())
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"offload.json", "offload.html"}
    assert model_walk_summary((tmp_path / "model" / "offload.json").read_bytes()) == walk_summary()
    write_walk_reports(tmp_path / "libraries", libraries_summary())
    assert {path.name for path in (tmp_path / "libraries").iterdir()} == {"offload.json"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
def test_a_full_disk_is_told_with_the_file_that_did_not_fit() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(Path("/dev/full"), run_summary())
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
