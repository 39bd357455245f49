"""tapml_fuzz: differential fuzzing of machine-learning operators, seeded with real activations.

`check` fuzzes one candidate implementation against an operator; `python -m tapml_fuzz` is the command line.
Importing this package is cheap: torch and the rest are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapml_fuzz.api.check import check
    from tapml_fuzz.api.replay import replay
    from tapml_fuzz.api.report import Finding, Report

from tapml_fuzz.core.version import __version__

__all__ = ["Finding", "Report", "__version__", "check", "replay"]

_HOMES = {
    "check": "tapml_fuzz.api.check",
    "Report": "tapml_fuzz.api.report",
    "Finding": "tapml_fuzz.api.report",
    "replay": "tapml_fuzz.api.replay",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
