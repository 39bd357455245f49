"""tapml_fuzz: differential fuzzing of machine-learning operators, seeded with real activations.

`check` fuzzes one candidate implementation against an operator; `python -m tapml_fuzz` is the command line.
Importing this package is cheap: torch and the rest are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapml_fuzz.core.version import __version__

__all__ = ["Finding", "Report", "__version__", "check", "replay"]

if TYPE_CHECKING:
    from tapml_fuzz.api.check import check
    from tapml_fuzz.api.replay import replay
    from tapml_fuzz.api.report import Finding, Report
else:
    # Hidden from type checkers, which would take every name that this package lacks for one of type Any.
    _HOMES = {
        "check": "tapml_fuzz.api.check",
        "Report": "tapml_fuzz.api.report",
        "Finding": "tapml_fuzz.api.report",
        "replay": "tapml_fuzz.api.replay",
    }

    def __getattr__(name):
        """Import a public name when it is first asked for. Raises `AttributeError` for any other."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__():
        """The public names, those that are not imported yet included."""
        return sorted({*globals(), *__all__})
