"""Functions of one operand, and atan2."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import functions as f
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.tracked import Tracked, errors_of

rule("aten.sqrt")(f.sqrt)
rule("aten.rsqrt")(f.rsqrt)
rule("aten.tanh")(f.tanh)
rule("aten.exp")(f.exp)
rule("aten.expm1")(f.expm1)
rule("aten.sigmoid")(f.sigmoid)


def _builtin(packet: str, primitive: Callable[..., Tracked]) -> None:
    @rule(f"aten.{packet}")
    def _(x: Tracked) -> Tracked:
        return primitive(x, builtin=packet)


for _packet in ("log", "log2", "log10", "log1p"):
    _builtin(_packet, f.log)
for _packet in ("sin", "cos", "atan", "asinh"):
    _builtin(_packet, f.bounded_slope)
for _packet in ("tan", "asin", "acos", "sinh", "cosh", "acosh", "atanh"):
    _builtin(_packet, f.by_ends)
for _packet in ("erf", "erfc"):
    _builtin(_packet, f.erf)
_builtin("exp2", f.exp)


@rule("aten.atan2")
def atan2(x: Tracked, other: Tracked) -> Tracked:
    """The gradient has length 1 / |(x, y)|, smallest distance over the error box."""
    a = x.arithmetic
    x, other = e.floating(x, a), e.floating(other, a)
    value = torch.atan2(x.value, other.value)
    slack = errors_of(x, other)
    error = None
    if slack is not None:
        closest = torch.hypot(x.value, other.value) - slack
        error = torch.where(closest > 0, slack / closest, torch.inf)
    return a.rounded(value, error, (x, other), units=2 * a.accuracy.of("atan2").ulp)
