"""Options of fuzzing an operator, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tapml_fuzz.strategies import PHASES
from tapml_fuzz.strategies.recipe import Phase


@dataclass(frozen=True)
class FuzzOptions:
    """Options of drawing cases and reducing failures.

    Attributes:
        dtypes: floating dtypes to draw from; the empty name stands for the recorded one, none for that alone.
        phases: the kinds of change to draw.
        steer: whether drawing climbs toward large error ratios.
        max_elements: about how many input elements a drawn case has at most.
        order_seed: the seed of the order of the enumerated recipes.
        shrink_seconds: how long Hypothesis may shrink a recipe that fails.
        reduce_seconds: how long the tensors of a failing case are reduced after that.
    """

    dtypes: Sequence[str] = ()
    phases: Sequence[Phase] = PHASES
    steer: bool = True
    max_elements: int = 16384
    order_seed: int = 0
    shrink_seconds: float = 1.5
    reduce_seconds: float = 3.5


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Stop:
    """Two questions that the engine asks between cases.

    Attributes:
        expired: whether to end after the trial at hand.
        stopped: whether to give up at once, reduction included (Ctrl-C).
    """

    expired: Callable[[], bool] = _never
    stopped: Callable[[], bool] = _never
