"""The judgement of one case on one platform. Metrics are kept apart from thresholds, so they can be judged again."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal[
    "wrong",  # finite where finite is expected, but outside the error bound (or unequal, for exact dtypes)
    "nonfinite",  # inf or NaN where another class is expected, or the reverse
    "permitted",  # outside the bound, inside what the platform's specification allows
    "shape",
    "dtype",
    "crash",
    "timeout",
    "build-error",
    "run-error",  # it raised, or it changed its inputs
    "nondeterministic",
    "unwritten",  # an output element was never written
    "reference-suspect",  # the reference platform itself is outside the bound
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Kinds that come from comparing values.
COMPARED: tuple[Kind, ...] = ("wrong", "nonfinite", "permitted", "reference-suspect")

# How far an input is from what was observed, most realistic first.
Realism = Literal["observed", "near", "extrapolated", "special", "degenerate"]
REALISMS: tuple[Realism, ...] = get_args(Realism)


def more_realistic(first: Realism, second: Realism) -> Realism:
    """The one of two levels that is closer to what was observed."""
    return min(first, second, key=REALISMS.index)


def is_no_less_realistic(new: Realism, old: Realism) -> bool:
    """Whether a changed input is as good as the old one; a changed seed, no longer observed, is while it is near."""
    return _rank(new) <= _rank(old)


def _rank(level: Realism) -> int:
    return max(REALISMS.index(level), REALISMS.index("near"))


class Metrics(msgspec.Struct, frozen=True):
    """The distance of one output from the truth.

    `ratio` is max |actual - truth| / E over the judged elements, the figure of merit (0 exact, above 1 outside the
    bound); `max_abs`, `max_rel` (relative to |truth|), `max_ulp` (in units in the last place of the output dtype)
    and `cosine` are for people. `histogram` counts elements by ratio: 0, up to 0.01, 0.1, 1, 10, 100, beyond.
    """

    ratio: float = 0.0
    max_abs: float = 0.0
    max_rel: float = 0.0
    max_ulp: float = 0.0
    cosine: float = 1.0
    histogram: tuple[int, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """`kind` is None when nothing is wrong. `output` and `index` name the worst element (flat index, or -1)."""

    kind: Kind | None
    message: str = ""
    metrics: Metrics = Metrics()
    output: int = 0
    index: int = -1
    expected: float = 0.0
    actual: float = 0.0

    @property
    def failed(self) -> bool:
        """True for a fault; a permitted difference is none."""
        return self.kind is not None and self.kind != "permitted"
