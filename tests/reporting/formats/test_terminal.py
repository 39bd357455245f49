"""The lines of a campaign in a pipe: what was lost, what was found, and how it ended."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from tapml_fuzz.core import events
from tapml_fuzz.core.verdict import Realism
from tapml_fuzz.reporting.formats.terminal import Terminal
from tapml_fuzz.storage.findings import FindingRecord
from tests.summaries import entry, run_summary


def record(id_: str, realism: Realism = "near") -> FindingRecord:
    return FindingRecord(
        id=id_, platform="echo", operator="aten.neg", operator_key="neg-0", kind="wrong", realism=realism, ratio=None,
        message="m", shapes=((2,),), dtypes=("float32", "float32"), elements=2, found_elements=20, metrics={},
    )  # fmt: skip


def said(*heard: events.Event) -> list[str]:
    out = io.StringIO()
    with Terminal(out) as terminal:
        for event in heard:
            terminal(event)
    return out.getvalue().splitlines()


def test_closing_lines_count_what_ran_per_candidate() -> None:
    assert said(events.CampaignFinished(run_summary())) == [
        "done: 10 trials, 1 builds, 61.25 s, 1 findings (1 new)",
        "  echo: 10 trials, 1 findings",
    ]


def test_closing_lines_tell_what_is_out_of_the_ordinary() -> None:
    summary = run_summary(interrupted=True, findings=(entry(new=False),), unjudged={"tanh-0": "random"})
    platforms = {
        "torch-cpu": replace(summary.platforms["torch-cpu"], findings=2),
        "echo": replace(summary.platforms["echo"], unreached=3),
    }
    assert said(events.CampaignFinished(replace(summary, platforms=platforms))) == [
        "interrupted after 10 trials, 1 builds, 61.25 s, 1 findings (0 new)",
        "  torch-cpu (reference platform): 2 findings",
        "  echo: 10 trials, 1 findings, 3 cases missed: it did not answer",
        "  unjudged tanh-0, aten.tanh.default(float32[a]): random",
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.PlatformUnavailable("gpu", "no driver", "get it"), "gpu: not available here: no driver (get it)"),
        (events.PlatformLost("gpu", "no answer"), "lost     gpu: no answer; going on without it"),
        (events.PlatformReturned("gpu"), "back     gpu"),
        (events.OperatorUnjudged("aten.rand", "random"), "unjudged aten.rand: random; going on without it"),
        (events.FindingMerged("one", "other"), "merged   one: reduced, it is other"),
        (events.Progress("tanh", 5, 1, 0.25), " 25%  5 trials, 1 findings"),
        (events.PlatformLost("gpu", "\x1b[2J"), "lost     gpu: \N{REPLACEMENT CHARACTER}[2J; going on without it"),
    ],
)  # fmt: skip
def test_a_line_for_every_event(event: events.Event, line: str) -> None:
    assert said(event) == [line]


def test_findings_in_a_pipe_are_tab_separated_most_realistic_first() -> None:
    out = io.StringIO()
    Terminal(out).findings(
        [record("neg-b"), replace(record("neg-a"), operator="aten\t.neg"), record("neg-0", "observed")]
    )
    heading, *rows = [line.split("\t") for line in out.getvalue().splitlines()]
    assert heading == ["id", "operator", "dtypes", "kind", "realism", "ratio", "elements"]
    assert [row[0] for row in rows] == ["neg-0", "neg-a", "neg-b"]
    assert rows[1] == ["neg-a", "aten .neg", "float32", "wrong", "near", "-", "2"]


def test_no_findings_are_said() -> None:
    out = io.StringIO()
    Terminal(out).findings([])
    assert out.getvalue() == "no findings\n"
