"""Which sizes agree is found by trial; each case here is one that a simpler rule gets wrong."""

from __future__ import annotations

import pytest
import torch

from tapml_fuzz.core.errors import BadInputs, UnknownOperator
from tapml_fuzz.core.operator import Slot
from tapml_fuzz.operators.axes import infer, infer_many
from tapml_fuzz.operators.invoke import call, register
from tapml_fuzz.operators.naming import rename_axes

LONG = torch.long


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


@pytest.mark.parametrize(
    ("name", "args", "described"),
    [
        ("aten._softmax.default", (ones(2, 12, 9, 9), -1, False), "(float32[a, b, c, d], -1, False)"),
        (
            "aten.native_layer_norm.default",
            (ones(2, 9, 384), [384], ones(384), ones(384), 1e-12),
            "(float32[a, b, c], [c], float32[c], float32[c], 1e-12)",
        ),
        # Two axes of one size that nothing ties together.
        (
            "aten.addmm.default",
            (ones(384), ones(18, 384), ones(384, 384)),
            "(float32[a], float32[b, c], float32[c, a])",
        ),
        ("aten.bmm.default", (ones(24, 9, 9), ones(24, 9, 32)), "(float32[a, b, c], float32[a, c, d])"),
        # A broadcast axis stays 1.
        ("aten.add.Tensor", (ones(2, 9, 4), ones(1, 9, 4)), "(float32[a, b, c], float32[1, b, c])"),
        # Splitting makes an axis a product; merging makes an attribute one.
        ("aten.view.default", (ones(18, 384), [2, 9, 384]), "(float32[a*b, c], [a, b, c])"),
        ("aten.view.default", (ones(2, 9, 384), [18, 384]), "(float32[a, b, c], [a*b, c])"),
        # -1 absorbs, and the fixed 32 makes the last axis a multiple of it.
        ("aten.view.default", (ones(2, 9, 384), [2, 9, -1, 32]), "(float32[a, b, 32*c], [a, b, -1, 32])"),
        ("aten.cat.default", ([ones(2, 3), ones(2, 5)], 1), "([float32[a, b], float32[a, c]], 1)"),
        ("aten.slice.Tensor", (ones(1, 512), 1, 0, 9), "(float32[a, b], 1, 0, 9)"),
    ],
)
def test_axes_of(name: str, args: tuple[object, ...], described: str) -> None:
    assert infer(name, args).operator.describe() == name + described


def test_inferred_call_runs_at_other_sizes() -> None:
    operator = infer("aten.addmm.default", (ones(5), ones(3, 4), ones(4, 5))).operator
    sizes = {"a": 7, "b": 2, "c": 11}
    (output,) = call(operator, [ones(*shape) for shape in operator.shapes(sizes)], sizes)
    assert output.shape == (2, 7)
    assert torch.equal(output, torch.full((2, 7), 12.0))


def test_several_examples_tell_coincidence_from_rule() -> None:
    examples = [((ones(18, 384), [2, 9, 384]), {}), ((ones(7, 384), [1, 7, 384]), {})]
    calls = infer_many("aten.view.default", examples)
    assert [c.sizes for c in calls] == [{"c": 384, "a": 2, "b": 9}, {"c": 384, "a": 1, "b": 7}]
    ends = infer_many("aten.slice.Tensor", [((ones(1, 512), 1, 0, n), {}) for n in (9, 12)])
    assert ends[0].operator.describe() == "aten.slice.Tensor(float32[a, b], 1, 0, c)"


def test_one_tensor_given_twice_is_two_arguments() -> None:
    tensor = torch.randn(3, 5)
    found = infer("aten.cat.default", [[tensor, tensor], 1])
    assert found.operator.args[0] == [Slot(0), Slot(1)]
    assert len(found.operator.axes) == len(found.tensors) == 2


def test_both_sides_of_size_one_stay_consistent() -> None:
    call_ = infer("aten.add.Tensor", (ones(1, 3), ones(1, 3)))
    sizes = dict.fromkeys(call_.operator.axis_names, 5)
    tensors = [ones(*shape) for shape in call_.operator.shapes(sizes)]
    assert call(call_.operator, tensors, sizes)[0].numel() > 0


def test_index_arguments_are_known_for_aten_and_found_for_callables() -> None:
    ids = torch.zeros(2, 3, dtype=LONG)
    (index,) = infer("aten.embedding.default", (ones(30, 8), ids)).operator.indexes
    assert (index.slot, str(index.extent), index.negative) == (1, "a", False)

    def lookup(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return table[rows]

    register("python:lookup", lookup)
    (index,) = infer("python:lookup", (ones(30, 8), ids)).operator.indexes
    assert (index.slot, str(index.extent), index.negative) == (1, "a", True)


def test_user_named_axes_replace_inference() -> None:
    call_ = infer("aten.mul.Tensor", (ones(4, 6), ones(4, 6)))
    shapes = [tuple(tuple(t.shape) for t in call_.tensors)]
    operator, (sizes,) = rename_axes(call_.operator, shapes, [("rows", 6), ("rows", 6)], [call_.sizes])
    assert operator.describe() == "aten.mul.Tensor(float32[rows, 6], float32[rows, 6])"
    assert sizes == {"rows": 4}
    with pytest.raises(BadInputs, match="do not fit"):
        rename_axes(call_.operator, shapes, [("rows",), ("rows", 6)], [call_.sizes])


def test_attributes_of_axes_without_a_name_stay_as_they_were() -> None:
    call_ = infer("aten.convolution.default", (ones(2, 4, 9), ones(6, 2, 3), ones(6), [1], [0], [1], False, [0], 2))
    shapes = [tuple(tuple(t.shape) for t in call_.tensors)]
    operator, _ = rename_axes(call_.operator, shapes, [("n", 4, "l"), ("o", 2, "k"), ("o",)], [call_.sizes])
    assert str(operator.args[-1]) == "2"


def test_bad_examples_give_one_line() -> None:
    with pytest.raises(BadInputs, match="rejects its example"):
        infer("aten.mm.default", (ones(2, 3), ones(2, 3)))
    with pytest.raises(UnknownOperator, match=r"unknown operator 'aten\.nosuch\.default'"):
        infer("aten.nosuch.default", (ones(2),))
    with pytest.raises(BadInputs, match="differ in more than sizes"):
        infer_many("aten.sum.dim_IntList", [((ones(2, 3), [1]), {}), ((ones(2, 3), [1], True), {})])


@pytest.mark.parametrize("name", ["os.system.default", "aten.__class__.default", "aten.add", "prim.device.default", ""])
def test_only_aten_overloads_resolve(name: str) -> None:
    with pytest.raises(UnknownOperator):
        infer(name, (ones(2),))
