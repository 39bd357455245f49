"""`report.md`: the summary of a campaign as a page for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tapml_fuzz.core.summary import FindingEntry, PlatformSummary, RunSummary
from tapml_fuzz.core.verdict import REALISMS

_MESSAGE = 160  # characters of a finding's message in its row; the finding's own page has all of it


def as_markdown(summary: RunSummary) -> str:
    """The page of a campaign: the platforms that ran or did not answer, the operators that were not judged, findings.

    Findings are in the order of realism, the most realistic first. Nothing in the page that comes from a model, a
    platform or a kernel is taken for markup.
    """
    end = ", interrupted." if summary.interrupted else "."
    lines = [
        "# tapml_fuzz report",
        "",
        f"{summary.trials} trials ({summary.cases} cases) in {summary.elapsed_s:.0f} s, "
        f"seed {summary.seed}, budget {summary.budget}, reference platform {summary.reference}{end}",
        "",
        *_platforms(summary.platforms),
    ]
    if summary.unjudged:
        lines += ["", "## Operators that could not be judged", ""]
        for key, reason in summary.unjudged.items():
            lines.append(f"- {_cell(key)}, {_cell(summary.operators[key].operator)}: {_cell(reason)}")
    lines += ["", "## Findings", "", *_findings(summary.findings)]
    return "\n".join(lines) + "\n"


def _platforms(platforms: Mapping[str, PlatformSummary]) -> Iterable[str]:
    yield "| platform | device | trials | builds | findings |"
    yield "|---|---|---|---|---|"
    for name, platform in platforms.items():
        role = " (reference platform)" if platform.reference else ""
        yield _row(name + role, platform.device, platform.trials, platform.builds, platform.findings)
    for name, platform in platforms.items():
        if platform.unreached:
            yield ""
            yield f"{_cell(name)} did not answer for {platform.unreached} cases, which it has not run."


def _findings(findings: Iterable[FindingEntry]) -> Iterable[str]:
    ordered = sorted(findings, key=lambda f: (REALISMS.index(f.realism), f.id))
    if not ordered:
        yield "None."
        return
    yield "| id | platform | operator | dtypes | kind | realism | ratio | elements | new | message |"
    yield "|---|" + "---|" * 9
    for f in ordered:
        ratio = "-" if f.ratio is None else f"{f.ratio:.3g}"
        dtypes = ",".join(dict.fromkeys(f.dtypes))
        link = f"[{_cell(f.id)}]({f.reproducer})" if f.reproducer else _cell(f.id)
        new = "yes" if f.new else "no"
        message = f.message if len(f.message) <= _MESSAGE else f.message[: _MESSAGE - 1] + "…"
        cells = _row(f.platform, f.operator, dtypes, f.kind, f.realism, ratio, f.elements, new, message)
        yield f"| {link} {cells}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("<", "&lt;").replace("[", "\\[").replace("`", "'")
