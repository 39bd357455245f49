"""Budgets of fuzzing: seconds or trials."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from tapml_fuzz.core.errors import BadOption

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|trials?)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Budget:
    """Either `seconds` or `trials`; `start` begins the clock."""

    seconds: float | None = None
    trials: int | None = None
    text: str = ""
    _began: float = field(default=0.0, repr=False)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`"60s"`, `"5m"`, `"1h"` or `"500trials"`; raises `BadOption` for anything else."""
        found = _FORM.fullmatch(text.strip())
        if not found or float(found[1]) <= 0:
            raise BadOption(f"budget {text!r} is neither a time nor a number of trials", hint="e.g. 60s or 500trials")
        number, unit = found.groups()
        if unit.startswith("trial"):
            if "." in number:
                raise BadOption(f"budget {text!r} asks for part of a trial", hint="e.g. 500trials")
            return cls(trials=int(number), text=text)
        return cls(seconds=float(number) * _SECONDS[unit], text=text)

    def start(self) -> Budget:
        """Begin the clock; gives the budget itself."""
        self._began = time.monotonic()
        return self

    @property
    def elapsed(self) -> float:
        """Seconds since `start`."""
        return time.monotonic() - self._began

    @property
    def deadline(self) -> float:
        """On `time.monotonic`'s clock; infinity for a budget of trials."""
        return self._began + self.seconds if self.seconds is not None else float("inf")

    def used(self, trials: int) -> float:
        """Share of the budget that is used, 0 to 1."""
        share = trials / self.trials if self.trials else self.elapsed / (self.seconds or 1.0)
        return min(1.0, share)
