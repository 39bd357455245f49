"""softmax and log_softmax, decomposed the stable way: the maximum is subtracted first."""

from __future__ import annotations

from typing import Any

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import summation as s
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.reductions import amax
from tapml_fuzz.oracle.tracked import Tracked


def _shifted(x: Tracked, dim: int) -> Tracked:
    x = e.floating(x, x.arithmetic)
    return e.sub(x, amax(x, dim, keepdim=True))


@rule("aten._softmax", "aten.softmax", "aten._safe_softmax")
def softmax(x: Tracked, dim: int, *_: Any, **__: Any) -> Tracked:
    powers = e.stage(e.exp(_shifted(x, dim)), x)
    return e.div(powers, e.stage(s.total(powers, dim, keepdim=True), x))


@rule("aten._log_softmax", "aten.log_softmax")
def log_softmax(x: Tracked, dim: int, *_: Any, **__: Any) -> Tracked:
    shifted = e.stage(_shifted(x, dim), x)
    return e.sub(shifted, e.stage(e.log(e.stage(s.total(e.exp(shifted), dim, keepdim=True), x)), x))
