"""A platform in this process: no isolation, for a user's own callable and for tests."""

from __future__ import annotations

import time
from typing import Any

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import BuildOutcome, Built, NeedsSizes, RunOutcome
from tapml_fuzz.platforms.base import (
    BuildSpec,
    Info,
    Platform,
    Reproducer,
    info_of,
    reproducer_of,
)
from tapml_fuzz.platforms.registry import load, location
from tapml_fuzz.platforms.session.failures import build_outcome, reply_for, run_outcome
from tapml_fuzz.platforms.session.session import Session


class InProcessSession(Session):
    """Runs a `Platform` (or the known one of that name) in this process.

    A crash or a hang of the platform is one of this process.
    """

    def __init__(self, platform: Platform | str) -> None:
        self._platform = load(location(platform)) if isinstance(platform, str) else platform
        super().__init__(self._platform.name)
        self._info: Info | None = None
        self._builds: dict[int, Any] = {}

    def info(self) -> Info:
        """See `Session.info`; the platform is activated by the first call."""
        if self._info is None:
            self._info = info_of(self._platform)
        return self._info

    def built(self, handle: int) -> Any:
        """The platform's own object behind the handle of a `Built`, for whoever computes with it here."""
        return self._builds[handle]

    def _build(self, spec: BuildSpec) -> BuildOutcome | NeedsSizes:
        while self._dropped:
            self._builds.pop(self._dropped.pop(), None)
        started = time.perf_counter()
        try:
            build = self._platform.build(spec)
        except Exception as error:
            return build_outcome(reply_for(error, "build"), spec)
        handle = len(self._builds) + 1 if not self._builds else max(self._builds) + 1
        self._builds[handle] = build
        symbolic = len(spec.sizes) < len(spec.operator.axis_names)
        return Built(handle, time.perf_counter() - started, symbolic)

    def _run(self, handle: int, case: Case) -> RunOutcome:
        try:
            return self._platform.run(self._builds[handle], case.tensors, case.layouts, case.sizes)
        except Exception as error:
            return run_outcome(reply_for(error, "run"))

    def _reproducer(self, spec: BuildSpec, case: Case) -> Reproducer | None:
        try:
            return reproducer_of(self._platform, spec, case.sizes, case.layouts)
        except Exception:  # whatever is in its way, the finding stands without
            return None
