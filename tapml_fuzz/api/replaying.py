"""`replay`: run one stored case on a platform again and judge it, as checked-in reproducers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tapml_fuzz.core.case import LAYOUTS, Case
from tapml_fuzz.core.errors import BadInputs, UnavailablePlatform
from tapml_fuzz.core.operator import decode_operator
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.session.isolated import WorkerSession


def replay(
    platform: str,
    operator: str,
    *,
    sizes: Mapping[str, int],
    inputs: Sequence[Any],
    layouts: Sequence[str] | None = None,
) -> Verdict:
    """Judge one case on one platform, in a worker of its own.

    Args:
        platform: a name that `python -m tapml_fuzz platforms` lists.
        operator: the operator as canonical JSON (see `core.operator.encode_operator`).
        sizes: the size of every named axis.
        inputs: one torch tensor or numpy array per tensor slot.
        layouts: memory layout per tensor, as in `core.case.LAYOUTS` (default: all packed).

    Raises `BadInputs` where these do not fit one another, `UnavailablePlatform` where the platform cannot run here.
    """
    try:
        decoded = decode_operator(operator.encode())
        tensors = tuple(t if isinstance(t, np.ndarray) else to_numpy(t) for t in inputs)
        case = Case(decoded, dict(sizes), tensors, tuple(layouts or ()), "replay")  # type: ignore[arg-type]
        fits = decoded.shapes(case.sizes) == case.shapes and set(case.layouts) <= set(LAYOUTS)
    except (msgspec.MsgspecError, KeyError) as error:
        raise BadInputs(f"the operator or its sizes are malformed: {error}") from None
    if not fits or len(case.layouts) != len(tensors):
        raise BadInputs(f"the inputs do not fit {decoded.describe()}")
    return replay_case(platform, case)


def replay_case(platform: str, case: Case) -> Verdict:
    """Judge a case on a platform against the reference platform; see `replay`."""
    with WorkerSession("torch-cpu") as reference, WorkerSession(platform) as candidate:
        info = candidate.info()
        if not info.available:
            raise UnavailablePlatform(f"{platform} cannot run here: {info.reason}", hint=info.hint)
        same = platform == "torch-cpu"
        runner = DifferentialRunner("torch-cpu", reference, {} if same else {platform: candidate}, overlap=False)
        results = [r for r in runner.trial(case, repeat=True) if r.platform == platform]
        if results:
            return results[0].verdict
        if same:
            return Verdict(None)
        raise BadInputs(f"the case cannot be judged: {platform} does not support it, or torch-cpu rejects it")
