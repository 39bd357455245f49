"""`findings`: a list for programs in a pipe, and one finding whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapml_fuzz.storage.findings import FindingStore
from tests.cli.conftest import Command
from tests.storage.test_findings import EVIDENCE, record


@pytest.fixture
def output(tmp_path: Path) -> Path:
    store = FindingStore(tmp_path)
    for number in range(2):
        store.put(record(f"neg-null-wrong-{number:08d}"), EVIDENCE, store.begin_run({}), {})
    store.close()
    return tmp_path


def test_list_is_tab_separated_with_a_heading(output: Path, command: Command) -> None:
    heading, *lines = command("findings", "list", "--output", output).out.splitlines()
    assert heading.split("\t") == ["id", "operator", "dtypes", "kind", "realism", "ratio", "elements"]
    assert [line.split("\t")[0] for line in lines] == ["neg-null-wrong-00000000", "neg-null-wrong-00000001"]


def test_show_has_input_expected_and_actual(output: Path, command: Command) -> None:
    done = command("findings", "show", "00000001", "--output", output)
    assert done.code == 0
    assert done.out.startswith("neg-null-wrong-00000001\n")
    for part in ("input 0 (strided): bfloat16[2]", "expected 0: float64[2]", "actual 0: bfloat16[2]"):
        assert part in done.out


@pytest.mark.parametrize("verb", [["list"], ["show", "x"]])
def test_where_no_run_was_there_is_nothing_to_list(verb: list[str], command: Command, tmp_path: Path) -> None:
    done = command("findings", *verb, "--output", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error E205: no run has left findings in {tmp_path} (run first, or give its --output)\n"


def test_an_id_that_several_have_or_none_is_one_line(output: Path, command: Command) -> None:
    assert command("findings", "show", "neg", "--output", output).err.startswith("error E205: 'neg' is ambiguous")
    assert command("findings", "show", "absent", "--output", output).err.startswith("error E205: no finding 'absent'")
