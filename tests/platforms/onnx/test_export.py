"""Operators as ONNX models: what torch's exporter makes is checked before a runtime is held to it."""

from __future__ import annotations

import numpy as np
import pytest

from tapml_fuzz.core.operator import Index
from tapml_fuzz.platforms.base import BuildSpec, NeedsStatic, NotSupported
from tests.platforms.operators import MINILM, SOFTMAX, SUB, A, B, X, Y, aten

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from tapml_fuzz.platforms.onnx.export import bound_clips, mistranslation, onnx_model  # noqa: E402

# torch's exporter calls a pytree function of torch's that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


def spec(name: str, *dtypes: str, **sizes: int) -> BuildSpec:
    operator = MINILM[name]
    return BuildSpec(operator, dtypes or operator.dtypes, sizes)


def dimensions(value: object) -> list[object]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]  # type: ignore[attr-defined]


def test_open_axes_are_named_and_given_ones_are_numbers() -> None:
    (x,) = onnx_model(BuildSpec(SOFTMAX, ("float32",), {})).graph.input
    assert all(isinstance(name, str) and name for name in dimensions(x))
    (x,) = onnx_model(BuildSpec(SOFTMAX, ("float32",), {"b": 7})).graph.input
    assert isinstance(dimensions(x)[0], str)
    assert dimensions(x)[1] == 7


def test_axis_that_cannot_stay_open_is_asked_for() -> None:
    with pytest.raises(NeedsStatic):
        onnx_model(spec("slice"))
    assert len(onnx_model(spec("slice", b=9, a=3)).graph.output) == 1


def test_refusal_of_the_exporter_is_not_supported() -> None:
    strange = aten("special_bessel_j0.default", [X], [(A, B)])
    with pytest.raises(NotSupported, match=r"torch\.onnx\.export: .*bessel"):
        onnx_model(BuildSpec(strange, ("float32",), {"a": 2, "b": 3}))


def test_wrong_model_is_the_exporters_fault() -> None:
    # torch 2.13 adds in float32, as torch does inside, and leaves the sum float32.
    total = spec("sum", "float16")
    with pytest.raises(NotSupported, match=r"torch\.onnx\.export is wrong: outputs declared \['float32'\]"):
        onnx_model(total)


def test_exchanged_arguments_and_wrong_attributes_are_seen() -> None:
    model = onnx_model(BuildSpec(SUB, SUB.dtypes, {}))
    assert mistranslation(BuildSpec(SUB, SUB.dtypes, {}), model) == ""
    node = model.graph.node[0]
    node.input[:] = list(node.input)[::-1]
    assert "other values" in mistranslation(BuildSpec(SUB, SUB.dtypes, {}), model)
    model = onnx_model(BuildSpec(SOFTMAX, SOFTMAX.dtypes, {}))
    model.graph.node[0].attribute[0].i = 0
    assert "other values" in mistranslation(BuildSpec(SOFTMAX, SOFTMAX.dtypes, {}), model)


def test_indices_of_the_check_are_legal() -> None:
    """An index as large as the other integers that the check draws would be out of range here."""
    small = aten("embedding.default", [X, Y], [(B, A), (A, A)], ("float32", "int64"), [Index(1, B)])
    assert onnx_model(BuildSpec(small, small.dtypes, {"b": 1})).graph.node


def test_clip_without_a_bound_keeps_infinities() -> None:
    model = onnx_model(spec("clamp"))
    (clip,) = [node for node in model.graph.node if node.op_type == "Clip"]
    bounds = {tensor.name: float(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    assert bounds[clip.input[1]] == -0.5
    assert bounds[clip.input[2]] == np.inf
    before = model.SerializeToString()
    bound_clips(model)
    assert model.SerializeToString() == before
