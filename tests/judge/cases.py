"""Cases that are judged, each with its truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.outcome import RunOutcome
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.judge import judge
from tapml_fuzz.oracle import Truth, truth
from tests.oracle.catalogue import operator_of

X = np.linspace(-3, 3, 60, dtype=np.float32).reshape(4, 15)
EXP = np.exp(X)


def made(name: str, args: list[Any], kwargs: dict[str, Any] | None = None) -> tuple[Case, Truth]:
    operator, tensors = operator_of(name, args, kwargs or {})
    return Case(operator, {}, tensors), truth(operator, tensors, {})


def on(outcome: RunOutcome, name: str = "aten.exp.default", args: list[Any] | None = None, **options: Any) -> Verdict:
    case, found = made(name, [X] if args is None else args)
    return judge(case, outcome, found, **options)
