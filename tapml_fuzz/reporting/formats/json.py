"""`report.json`, `run --json` and `offload.json`: a summary for programs, as strict JSON."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

from tapml_fuzz.core.errors import BadSummary
from tapml_fuzz.core.summary import FORMAT, RunSummary
from tapml_fuzz.core.walk_summary import ModelWalkSummary

S = TypeVar("S", bound=msgspec.Struct)


def as_json(summary: msgspec.Struct) -> str:
    """The fields of a summary by their keys, indented; numbers that JSON does not have become null."""
    return json.dumps(_strict(msgspec.to_builtins(summary)), indent=2, allow_nan=False)


def run_summary(raw: bytes | str) -> RunSummary:
    """The summary of a campaign that `as_json` has written, or an older version that had fewer fields.

    Raises `BadSummary` for any other text, and for a summary of a later format.
    """
    summary = _decoded(raw, RunSummary, "run")
    if summary.format != FORMAT:
        raise BadSummary(f"the summary has format {summary.format}, known is {FORMAT}", hint="update tapml_fuzz")
    return summary


def model_walk_summary(raw: bytes | str) -> ModelWalkSummary:
    """The summary of a model's walk that `as_json` has written. Raises `BadSummary` for any other text."""
    return _decoded(raw, ModelWalkSummary, "walk")


def _decoded(raw: bytes | str, type_: type[S], of: str) -> S:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadSummary(f"not the summary of a {of}: {error}", hint="give what --json has written") from None


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    return [_strict(v) for v in value] if isinstance(value, list | tuple) else value
