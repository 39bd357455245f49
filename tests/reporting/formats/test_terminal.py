"""The lines of a campaign in a pipe: what was lost, what was found, and how it ended."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from tapml_fuzz.core import events
from tapml_fuzz.reporting.formats.terminal import Terminal
from tests.summaries import entry, run_summary


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
