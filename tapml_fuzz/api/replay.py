"""`replay`: run one stored case on a platform again and judge it, as checked-in reproducers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tapml_fuzz.core.case import LAYOUTS, Case
from tapml_fuzz.core.errors import BadInputs, UnavailablePlatform
from tapml_fuzz.core.operator import decode_operator
from tapml_fuzz.core.verdict import Verdict
from tapml_fuzz.engine.runner import DifferentialRunner
from tapml_fuzz.operators.invoke import to_numpy
from tapml_fuzz.platforms.registry import references
from tapml_fuzz.platforms.session.isolated import WorkerSession

# The reference platform that runs everywhere.
_EVERYWHERE = list(references())[-1]


@dataclass(frozen=True)
class Replay:
    """The result of running a case again.

    Attributes:
        verdict: the platform's verdict.
        reference: the reference platform that ran beside it: another than asked for where that cannot run here.
    """

    verdict: Verdict
    reference: str


def replay(
    platform: str,
    operator: str,
    *,
    sizes: Mapping[str, int],
    inputs: Sequence[Any],
    layouts: Sequence[str] | None = None,
    reference: str = _EVERYWHERE,
) -> Verdict:
    """Judge one case on one platform, in a worker of its own.

    Args:
        platform: a name that `python -m tapml_fuzz platforms` lists.
        operator: the operator as canonical JSON (see `core.operator.encode_operator`).
        sizes: the size of every named axis.
        inputs: one torch tensor or numpy array per tensor slot.
        layouts: memory layout per tensor, as in `core.case.LAYOUTS` (default: all packed).
        reference: the reference platform of the run that found the case; torch on the CPU where that cannot run here.

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
    return replay_case(platform, case, reference).verdict


def replay_case(platform: str, case: Case, reference: str = _EVERYWHERE) -> Replay:
    """Judge a case on a platform beside the reference platform `reference`; see `replay`."""
    with WorkerSession(platform) as candidate, WorkerSession(reference) as wanted, WorkerSession(_EVERYWHERE) as other:
        candidate.start()
        info = candidate.info()
        if not info.available:
            raise UnavailablePlatform(f"{platform} cannot run here: {info.reason}", hint=info.hint)
        mature = wanted if wanted.info().available else other
        candidates = {} if platform == mature.name else {platform: candidate}
        runner = DifferentialRunner(mature.name, mature, candidates, overlap=False)
        trial = runner.trial(case, only=platform, repeat=True)
    for result in trial.results:
        if result.platform == platform:
            return Replay(result.verdict, mature.name)
    why = "; ".join(f"{name}: {reason}" for name, reason in trial.refused.items())
    # What the candidate does where the reference is wrong as well is said of the reference alone.
    raise BadInputs(f"the case cannot be judged: {why or f'{mature.name} itself is outside the error bound'}")
