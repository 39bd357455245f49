"""The only place where a verdict is made."""

from tapml_fuzz.judge.verdicts import (
    STRICT,
    judge,
    judge_differing,
    judge_not_repeated,
    judge_pair,
    judge_reference,
    judge_repeated,
    same_outputs,
)

__all__ = [
    "STRICT",
    "judge",
    "judge_differing",
    "judge_not_repeated",
    "judge_pair",
    "judge_reference",
    "judge_repeated",
    "same_outputs",
]
