"""Looking at processes that a test has started, by their ids; needs Linux's /proc."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def alive(process: int) -> bool:
    """Whether it still runs; one that has ended may wait for whoever inherited it to notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def survivors(processes: Iterable[int], seconds: float) -> list[int]:
    """Those that still run after that time; returns as soon as there are none."""
    deadline = time.monotonic() + seconds
    while (left := [p for p in processes if alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def descendants(process: int) -> list[int]:
    """What it has started and what that has started, down to the last, as far as all still run."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found
