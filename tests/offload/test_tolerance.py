"""What may come of rounding in a whole model: right platforms keep it, faults do not."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.offload.hybrid import Hybrid
from tapml_fuzz.offload.subject import Subject
from tapml_fuzz.offload.tolerance import Tolerances
from tapml_fuzz.operators.invoke import to_numpy


def test_it_says_something(subject: Subject) -> None:
    """A bound as wide as the values themselves would let everything pass."""
    recording, allowed = subject.recordings[0], subject.tolerances[0]
    for name, value in recording.values.items():
        bound = allowed.propagated[name]
        if bound is not None and value.is_floating_point():
            size = value.double().square().mean().sqrt()
            assert np.sqrt(np.square(bound[np.isfinite(bound)]).mean()) < 1e-3 * float(size), name
            assert np.isfinite(bound).all(), name


def test_what_only_moves_data_must_be_equal(subject: Subject) -> None:
    recording, allowed = subject.recordings[0], subject.tolerances[0]
    exact = {step.operator.short_name for step in recording.steps if allowed.propagated[step.outputs[0]] is None}
    assert {"embedding", "slice", "expand"} <= exact
    rounded = {step.operator.short_name for step in recording.steps if allowed.propagated[step.outputs[0]] is not None}
    assert {"addmm", "softmax", "gelu", "native_layer_norm", "view"} <= rounded


@pytest.mark.parametrize("size", [1e-3, -1e-3])
def test_a_thousandth_in_any_rounding_operator_shows(subject: Subject, size: float) -> None:
    recording, allowed = subject.recordings[0], subject.tolerances[0]
    for step in recording.steps:
        name = step.outputs[0]
        value = to_numpy(recording.values[name])
        if value.dtype == np.float32 and value.any():
            with np.errstate(over="ignore"):
                other = value * np.float32(1 + size)
            assert allowed.ratio(name, other, value)[0] > 1, step.name


def test_a_mask_lends_its_size_to_nobody(subject: Subject) -> None:
    """-3.4e38 rounds by 1e31, which would excuse everything else in its row."""
    recording, allowed = subject.recordings[0], subject.tolerances[0]
    masked = [
        name
        for step in recording.steps
        for name in step.outputs
        if step.operator.short_name == "add" and float(recording.values[name].double().min()) < -1e37
    ]
    assert masked, "the texts are of different lengths"
    for name in masked:
        bound, value = allowed.propagated[name], to_numpy(recording.values[name])
        assert bound is not None
        assert bound[value > -1e4].max() < 1e-2


def test_ratios_of_what_is_not_finite() -> None:
    allowed = Tolerances({"x": np.array([1.0, 1.0, np.inf]), "exact": None})
    x = np.array([1.0, 2.0, 3.0], np.float32)
    assert allowed.ratio("x", x + np.float32([0.5, 0, 0]), x) == (0.5, 0)
    assert allowed.ratio("x", np.float32([1, np.nan, 3]), x) == (np.inf, 1)
    assert allowed.ratio("x", np.float32([1, 2, 1e30]), x)[0] == 0, "unjudged"
    assert allowed.ratio("x", x[:2], x) == (np.inf, -1)
    assert allowed.ratio("exact", x, x) == (0.0, -1)
    assert allowed.ratio("exact", x + np.float32([0, 1e-7, 0]), x)[0] == 0, "rounded away"
    assert allowed.ratio("exact", x + np.float32([0, 1e-6, 0]), x) == (np.inf, 1)
    large = np.array([2**62, 5, 1])
    assert allowed.ratio("exact", large, large) == (0.0, -1)
    assert allowed.ratio("exact", large + np.array([1, 0, 0]), large) == (np.inf, 0), "equal as floats"
    assert allowed.ratio("x", large + np.array([0, 0, 1]), large) == (0.0, -1), "unjudged"
    special = np.float32([np.inf, np.nan, -np.inf])
    assert allowed.ratio("exact", special, special) == (0.0, -1)
    assert allowed.ratio("exact", -special, special)[0] == np.inf


def test_the_same_seed_gives_the_same_tolerances(subject: Subject, hybrid: Hybrid) -> None:
    one = subject.check(hybrid, dict.fromkeys(subject.operators, "tvm-llvm"))
    other = subject.check(hybrid, dict.fromkeys(subject.operators, "tvm-llvm"))
    assert [g.ratio for g in one.grown] == [g.ratio for g in other.grown]
