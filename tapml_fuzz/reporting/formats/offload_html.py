"""The page of a walk: the model's module tree coloured by where each node runs, and how errors grow along it.

It is one file without scripts or outside references. Everything in it that comes from a model is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from tapml_fuzz.core.walk_summary import ENDLESS, ModelWalkSummary, NodeSummary, UnitSummary

_COLOURS = {"moved": "#2e9e5b", "blocked": "#c8352b", "unsupported": "#b9972f"}
_WORDS = {
    "moved": "runs on the target",
    "blocked": "stays on the reference platform: it fails",
    "unsupported": "stays on the reference platform: the target does not take it",
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border-bottom: 1px solid #dde2ea; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
details { margin-left: 1.1rem; } summary { cursor: pointer; padding: .1rem 0; }
.node { display: inline-block; width: .85rem; height: .85rem; border-radius: 2px; margin: 1px; }
.legend span.node { vertical-align: -.1rem; } .quiet { color: #67718a; }
svg text { font: 12px system-ui, sans-serif; fill: #67718a; }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 260, 56, 28
# Decades of the growth chart: errors below a hundred-thousandth of what is allowed are drawn there.
_LOWEST, _HIGHEST = -5.0, 3.0


def as_html(summary: ModelWalkSummary) -> str:
    """The page of a walk, as the text of one HTML file."""
    title = f"{summary.model}: {summary.reference} to {summary.target}"
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(_verdict(summary))}</p>",
            "<h2>What stays behind</h2>",
            *_blocked(summary.units),
            "<h2>The model</h2>",
            _legend(),
            *_tree(summary.nodes),
            "<h2>Error along the model</h2>",
            *_growth(summary),
            "<h2>Every operator</h2>",
            *_units(summary.units),
            "</body></html>",
            "",
        ]
    )


def _verdict(summary: ModelWalkSummary) -> str:
    final = summary.final
    counts = f"{summary.moved} of {len(summary.units)} operators run on {summary.target}"
    stay = f"{summary.reference_nodes} of {len(summary.nodes)} nodes stay on {summary.reference}"
    if final.failure:
        return f"{counts}; {stay}. The model does not run so: {final.failure}"
    state = "outside its bound" if final.failed else "within its bound"
    worst = f"its worst value is at {'inf' if final.worst is None else f'{final.worst:.2g}'} of what is allowed"
    return f"{counts}; {stay}. The model is {state}: {worst}; {final.seen}."


def _blocked(units: Sequence[UnitSummary]) -> Iterable[str]:
    stay = [unit for unit in units if unit.status != "moved"]
    if not stay:
        yield "<p>Nothing.</p>"
        return
    yield "<table><tr><th>operator</th><th>calls</th><th>why</th><th>findings</th></tr>"
    for unit in sorted(stay, key=lambda u: (u.status, not u.noticed)):
        why = escape(unit.reason)
        if unit.partners:
            why += f"<br>only together with <code>{escape(', '.join(unit.partners))}</code>"
        if unit.where == "alone":
            why += f'<br><span class="quiet">the model {"notices" if unit.noticed else "does not notice"}</span>'
        links = "<br>".join(f'<a href="findings/{escape(f)}/">{escape(f)}</a>' for f in unit.findings)
        yield f"<tr><td><code>{escape(unit.operator)}</code></td><td class=number>{unit.calls}</td>"
        yield f"<td>{why}</td><td>{links}</td></tr>"
    yield "</table>"


def _legend() -> str:
    marks = [f'<span class="node" style="background:{_COLOURS[s]}"></span> {_WORDS[s]}' for s in _COLOURS]
    return f'<p class="legend">{" &nbsp; ".join(marks)}</p>'


@dataclass
class _Branch:
    """A module: its own nodes, and the modules in it by name."""

    nodes: list[NodeSummary] = field(default_factory=list)
    parts: dict[str, _Branch] = field(default_factory=dict)

    def part(self, name: str) -> _Branch:
        return self.parts.setdefault(name, _Branch())

    def every_node(self) -> Iterable[NodeSummary]:
        yield from self.nodes
        for part in self.parts.values():
            yield from part.every_node()


def _tree(nodes: Sequence[NodeSummary]) -> Iterable[str]:
    """Per graph (a decoder has two), modules in the order of the graph, nested as they are named."""
    for graph in dict.fromkeys(node.graph for node in nodes):
        root = _Branch()
        for node in nodes:
            if node.graph == graph:
                place = root
                for name in filter(None, node.module.split(".")):
                    place = place.part(name)
                place.nodes.append(node)
        yield from _branch(graph or "model", root, depth=0)


def _branch(name: str, branch: _Branch, depth: int) -> Iterable[str]:
    inside = list(branch.every_node())
    worst = next((s for s in ("blocked", "unsupported") if any(n.status == s for n in inside)), "moved")
    mark = f'<span class="node" style="background:{_COLOURS[worst]}"></span>'
    opened = " open" if depth < 3 or worst != "moved" else ""
    yield f'<details{opened}><summary>{mark} {escape(name)} <span class="quiet">{len(inside)}</span></summary>'
    if branch.nodes:
        yield "<div>" + "".join(_square(node) for node in branch.nodes) + "</div>"
    for part, below in branch.parts.items():
        yield from _branch(part, below, depth + 1)
    yield "</details>"


def _square(node: NodeSummary) -> str:
    ratio = "" if node.ratio is None else f", {node.ratio:.2g} of what is allowed"
    told = f"{node.node} ({node.key}): {_WORDS[node.status]}{ratio}"
    return f'<span class="node" style="background:{_COLOURS[node.status]}" title="{escape(told)}"></span>'


def _growth(summary: ModelWalkSummary) -> Iterable[str]:
    """A chart of the final run, and one of the way of every failure that only the model shows."""
    nodes = summary.nodes
    yield "<p>Distance from the reference run at every node, over what rounding may cause there; 1 is the bound.</p>"
    yield _chart([node.ratio for node in nodes], [f"{n.node} in {n.module or 'the model'}" for n in nodes])
    for unit in summary.units:
        if unit.growth:
            yield f"<h3>With <code>{escape(unit.operator)}</code> on the target</h3>"
            yield "<table><tr><th>value of</th><th>in the model</th><th>alone</th></tr>"
            for row in unit.growth:
                module = f"<span class=quiet>{escape(row.module)}</span>"
                yield f"<tr><td><code>{escape(row.step)}</code> {module}</td>"
                yield f"<td class=number>{_far(row.propagated)}</td><td class=number>{_far(row.forced)}</td></tr>"
            yield "</table>"


def _chart(ratios: Sequence[float | None], names: Sequence[str]) -> str:
    def x(index: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * index / max(1, len(ratios) - 1)

    def y(ratio: float) -> float:
        decade = min(_HIGHEST, max(_LOWEST, math.log10(ratio) if ratio > 0 else _LOWEST))
        return 8 + (_HEIGHT - _BOTTOM - 8) * (_HIGHEST - decade) / (_HIGHEST - _LOWEST)

    lines = []
    for decade in range(int(_LOWEST), int(_HIGHEST) + 1):
        colour, width = ("#c8352b", 1.5) if decade == 0 else ("#e6eaf0", 1)
        height = y(10.0**decade)
        lines.append(f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - 8}" stroke="{colour}" stroke-width="{width}"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    points = [(x(i), y(r), r, names[i]) for i, r in enumerate(ratios) if r is not None]
    rounded = [(px, py) for px, py, r, _ in points if r > 0]  # what is exact says nothing of growth
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in rounded) if rounded else ""
    dots = [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{"#c8352b" if r > 1 else "#2e9e5b"}">'
        f"<title>{escape(name)}: {r:.3g}</title></circle>"
        for px, py, r, name in points
    ]
    label = f'<text x="{_LEFT}" y="{_HEIGHT - 8}">from the first node to the last</text>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Error along the model">{"".join(lines)}'
        f'<path d="{path}" fill="none" stroke="#8fb8a1" stroke-width="1"/>{"".join(dots)}{label}</svg>'
    )


def _far(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return "∞" if ratio >= ENDLESS else f"{ratio:.3g}"


def _units(units: Sequence[UnitSummary]) -> Iterable[str]:
    yield "<table><tr><th>operator</th><th>calls</th><th>status</th><th>model's worst</th><th>seconds</th></tr>"
    for unit in units:
        mark = f'<span class="node" style="background:{_COLOURS[unit.status]}"></span>'
        yield f"<tr><td><code>{escape(unit.operator)}</code></td><td class=number>{unit.calls}</td>"
        yield f"<td>{mark} {unit.status}</td><td class=number>{_far(unit.worst)}</td>"
        yield f"<td class=number>{unit.seconds:.1f}</td></tr>"
    yield "</table>"
