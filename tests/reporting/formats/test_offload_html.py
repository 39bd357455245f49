"""The page of a walk: it shows where every node runs, and nothing of the model is taken for markup."""

from __future__ import annotations

import math

from msgspec.structs import replace

from tapml_fuzz.core.walk_summary import FinalModelRun
from tapml_fuzz.reporting.formats.offload_html import as_html
from tests.summaries import walk_summary


def test_the_page_shows_what_moved_and_what_stays() -> None:
    html = as_html(walk_summary())
    assert "<h1>model: torch-cpu to tvm-llvm</h1>" in html
    assert "1 of 3 operators run on tvm-llvm; 2 of 3 nodes stay on torch-cpu. The model is within its bound: " in html
    assert "its worst value is at 0.5 of what is allowed; cosine 1.000000000." in html
    assert '<a href="findings/gelu-1/">gelu-1</a>' in html
    assert "only together with <code>tanh-0</code>" in html
    assert "the model notices" in html
    assert 'title="tanh (tanh-0): runs on the target, 0.5 of what is allowed"' in html
    assert 'title="add (add-0): stays on the reference platform: it fails"' in html
    assert "<td class=number>∞</td><td class=number>0.5</td>" in html  # the way of the failure


def test_modules_are_nested_as_they_are_named() -> None:
    html = as_html(walk_summary())
    counts = [part.split("</summary>")[0] for part in html.split("<summary>")[1:]]
    names = [count.split("</span> ")[1].split(" <")[0] for count in counts]
    assert names == ["model", "layer", "0", "1"]
    assert ['quiet">3<' in counts[0], 'quiet">2<' in counts[1], 'quiet">1<' in counts[2]] == [True] * 3


def test_a_model_that_does_not_run_and_one_without_a_finite_error_are_told() -> None:
    gone = as_html(walk_summary(final=FinalModelRun(failed=True, failure="<it> is gone")))
    assert "The model does not run so: &lt;it&gt; is gone" in gone
    for worst in (math.inf, None):  # as it is made, and as it is read back
        endless = as_html(walk_summary(final=FinalModelRun(failed=True, worst=worst)))
        assert "The model is outside its bound: its worst value is at inf of what is allowed" in endless


def test_nothing_of_the_model_is_markup() -> None:
    summary = walk_summary(model="<script>alert(1)</script>")
    hostile = replace(summary.nodes[0], module="a.<img src=x>", node='"<b>')
    units = (replace(summary.units[1], operator="<i>", reason="<u>"), *summary.units)
    html = as_html(replace(summary, nodes=(hostile, *summary.nodes), units=units))
    for tag in ("<script", "<img", "<b>", "<i>", "<u>"):
        assert tag not in html
