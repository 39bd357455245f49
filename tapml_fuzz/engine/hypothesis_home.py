"""The folder of Hypothesis's files while this package drives it: not in the folder that the user stands in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import configuration

from tapml_fuzz.platforms.build_cache import cache_folder

_lock = threading.Lock()
_inside = 0  # how many runs are under way, in whatever threads
_theirs: Path | None = None  # the home before the first of them; None is Hypothesis's own choice


@contextmanager
def own_hypothesis_home() -> Iterator[None]:
    """Let Hypothesis keep its files in `cache_folder("hypothesis")` for as long as this lasts.

    Hypothesis keeps the constants that it reads from source files, by default in `.hypothesis` in the current folder.
    Its home is a setting of the whole process, in which the user's own `@given` tests run as well: the last run to end
    puts back what was there before the first. Where no cache folder can be made, nothing is kept.
    """
    global _inside, _theirs
    with _lock:
        if not _inside:
            # Hypothesis has a function to set it and none to ask for it.
            _theirs = getattr(configuration, "__hypothesis_home_directory", None)
            configuration.set_hypothesis_home_dir(_folder())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                configuration.set_hypothesis_home_dir(_theirs)


def _folder() -> Path:
    try:
        return cache_folder("hypothesis")
    except OSError:
        return Path(os.devnull) / "hypothesis"  # cannot be made, which Hypothesis puts up with
