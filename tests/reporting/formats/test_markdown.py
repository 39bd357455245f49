"""The page for people: everything is on it, the most realistic first, and no foreign text is markup."""

from __future__ import annotations

from msgspec.structs import replace

from tapml_fuzz.reporting.formats.markdown import as_markdown
from tests.summaries import entry, run_summary


def test_the_page_says_what_ran_and_what_was_found() -> None:
    page = as_markdown(run_summary())
    assert "10 trials (12 cases) in 61 s, seed 7, budget 60s, reference platform torch-cpu.\n" in page
    assert "| torch-cpu (reference platform) |  | 0 | 0 | 0 |" in page
    assert "| echo | a device | 10 | 1 | 1 |" in page
    link = "[tanh-echo-wrong-00000000](findings/tanh-echo-wrong-00000000/reproduce.py)"
    row = f"| {link} | echo | aten.tanh.default(float32\\[a]) | float32 | wrong | near | 12.5 | 2 | yes | output 0,"
    assert row in page
    assert "could not be judged" not in page
    assert "did not answer" not in page


def test_findings_are_listed_most_realistic_first() -> None:
    found = [entry(id=realism, realism=realism, ratio=None) for realism in ("special", "observed", "extrapolated")]
    page = as_markdown(run_summary(findings=tuple(found)))
    places = [page.index(f"[{realism}]") for realism in ("observed", "extrapolated", "special")]
    assert places == sorted(places)
    assert "| - | 2 | yes |" in page


def test_nothing_found_an_end_before_time_and_what_is_missing_are_said() -> None:
    summary = run_summary(findings=(), interrupted=True, unjudged={"tanh-0": "random"})
    echo = replace(summary.platforms["echo"], unreached=3)
    page = as_markdown(replace(summary, platforms={**summary.platforms, "echo": echo}))
    assert page.endswith("## Findings\n\nNone.\n")
    assert ", interrupted." in page
    assert "echo did not answer for 3 cases" in page
    assert "- tanh-0, aten.tanh.default(float32\\[a]): random" in page


def test_a_long_message_is_cut() -> None:
    page = as_markdown(run_summary(findings=(entry(message="x" * 161),)))
    assert f"| {'x' * 159}… |\n" in page
    assert f"| {'x' * 160} |\n" in as_markdown(run_summary(findings=(entry(message="x" * 160),)))


def test_foreign_text_is_no_markup() -> None:
    hostile = "<b>|[x](y)`\n# heading"
    page = as_markdown(run_summary(findings=(entry(operator=hostile),)))
    assert "&lt;b>\\|\\[x](y)' # heading" in page
    assert "<b>" not in page
