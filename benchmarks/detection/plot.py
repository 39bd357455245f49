"""Recall against trials, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.detection.methods import METHODS, OURS
from benchmarks.detection.rows import Row
from benchmarks.detection.statistics import recall, within


def plot(rows: Sequence[Row], trials: int, path: Path) -> None:
    """Write an SVG: one line a method, the mean over seeds with its 95% interval."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "detection"  # the same rows give the same file
    import matplotlib.pyplot as plt

    at = np.unique(np.geomspace(1, trials, 60).astype(int))
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for name in METHODS:
        mine = [r for r in rows if r.method == name and r.what == "fault" and r.mode == "trials"]
        if not mine:
            continue
        centre, low, high = np.array([recall(mine, within(int(n))) for n in at]).T
        style = "-" if name == OURS else "--" if name.startswith("no ") or name == "tolerance" else ":"
        (line,) = axes.plot(at, 100 * centre, style, label=name, linewidth=3 if name == OURS else 1.6)
        axes.fill_between(at, 100 * low, 100 * high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set(xscale="log", xlim=(1, trials), ylim=(0, 101), xlabel="trials", ylabel="faults found (%)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small", ncols=2)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
