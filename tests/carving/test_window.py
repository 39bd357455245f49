"""A window keeps what makes a call real, and stays a call of the same operator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tapml_fuzz.carving.window import cut
from tapml_fuzz.operators.axes import InferredCall, infer, infer_many
from tapml_fuzz.operators.invoke import call as invoke

MASKED = -3.4e38


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_norm(batch: int = 4, rows: int = 40, channels: int = 384) -> InferredCall:
    x = random(batch, rows, channels)
    x[:, :, channels - 7] *= 80  # the outlier channel
    weight, bias = random(channels, seed=1), random(channels, seed=2)
    return infer("aten.native_layer_norm.default", (x, [channels], weight, bias, 1e-5))


def elements(call: InferredCall) -> int:
    return sum(t.numel() for t in call.tensors)


def rows_of(tensor: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in tensor.reshape(-1, tensor.shape[-1]).tolist()}


def test_reductions_keep_whole_rows_while_they_can() -> None:
    full = layer_norm()
    part = cut(full, 16384)
    assert elements(part) <= 16384
    assert part.tensors[0].shape[-1] == 384
    assert rows_of(part.tensors[0]) <= rows_of(full.tensors[0])
    outputs, full_outputs = invoke(part.operator, part.tensors, part.sizes), invoke(*_as_arguments(full))
    assert rows_of(outputs[0]) <= rows_of(full_outputs[0])


def test_outlier_channels_stay_and_rows_stay_aligned_with_their_weights() -> None:
    full = layer_norm()
    part = cut(full, 512)
    x, weight, bias = part.tensors
    assert elements(part) <= 512
    assert float(x.abs().max()) > 20
    loudest = x.abs().amax((0, 1)).argmax()
    assert weight[loudest] == full.tensors[1][-7]
    assert bias[loudest] == full.tensors[2][-7]
    pairs = set(zip(full.tensors[1].tolist(), full.tensors[2].tolist(), strict=True))
    assert set(zip(weight.tolist(), bias.tolist(), strict=True)) <= pairs


def test_outliers_far_apart_stay_together() -> None:
    x = random(20, 400)
    far = [3, 150, 390]
    x[:, far] = torch.tensor([60.0, 70.0, 80.0])
    (own,) = cut(infer("aten.tanh.default", (x,)), 320).tensors
    assert own.shape[1] < 100
    assert {60.0, 70.0, 80.0} <= set(own[0].tolist())
    assert own[0].tolist() == [v for v in x[0].tolist() if v in own[0].tolist()], "in their order"


def test_matrix_product_keeps_the_contracted_channels_together() -> None:
    x, w, bias = random(100, 384), random(384, 300, seed=1), random(300, seed=2)
    x[:, 200] = 50.0
    w[200] = 9.0
    full = infer("aten.addmm.default", (bias, x, w))
    part = cut(full, 2000)
    own_bias, own_x, own_w = part.tensors
    assert elements(part) <= 2000
    column = int((own_x == 50.0).all(0).nonzero()[0])
    assert bool((own_w[column] == 9.0).all())
    assert own_x.shape[1] == own_w.shape[0]
    assert own_bias.shape[0] == own_w.shape[1]


def test_both_sides_of_a_mask_stay() -> None:
    scores = random(4, 12, 200, 200)
    for row, length in enumerate((200, 150, 90, 3)):
        scores[row, :, :, length:] = MASKED
    part = cut(infer("aten._softmax.default", (scores, -1, False)), 2048)
    hidden = part.tensors[0] <= MASKED
    assert elements(part) <= 2048
    assert 0.1 < float(hidden.float().mean()) < 0.9
    assert not hidden[0].any(), "the unpadded member of the batch"
    assert hidden[-1].any(), "the most padded one"
    # Masks stay contiguous: once hidden, hidden to the end.
    assert bool((hidden.int().diff(dim=-1) >= 0).all())


def test_a_boolean_mask_keeps_both_values_in_a_single_row() -> None:
    mask = torch.arange(1000) < 900
    part = cut(infer("aten.logical_not.default", (mask[None, :],)), 32)
    assert 0 < int(part.tensors[0].sum()) < 32


def test_sequences_stay_in_order() -> None:
    part = cut(infer("aten.ge.Scalar", (torch.arange(5000), 0)), 100)
    assert part.tensors[0].diff().unique().tolist() == [1]


def test_embedding_keeps_the_rows_its_ids_use() -> None:
    table = random(3000, 96)
    ids = torch.randint(1, 3000, (3, 50), generator=torch.Generator().manual_seed(3))
    ids[2, 10:] = 0  # padding
    full = infer("aten.embedding.default", (table, ids, 0))
    part = cut(full, 4096)
    own_table, own_ids = part.tensors
    assert elements(part) <= 4096
    assert 0 <= int(own_ids.min()) <= int(own_ids.max()) < len(own_table)
    assert len(own_ids.unique()) > 8
    (looked_up,) = invoke(part.operator, part.tensors, part.sizes)
    # Each row looked up is the part of a row that the full call looked up, at the channels that were kept.
    kept = [int((table == column[:, None]).all(0).nonzero()[0]) for column in _columns(own_table, table)]
    reference = {tuple(row) for row in table[ids].reshape(-1, 96)[:, kept].tolist()}
    assert rows_of(looked_up) <= reference
    assert torch.equal(own_table[0], table[0, kept]), "the padding row is still row 0"


def _columns(part: torch.Tensor, whole: torch.Tensor) -> list[torch.Tensor]:
    """For every column of `part`, the full column of `whole` that begins with the same value in row 0."""
    return [whole[:, int((whole[0] == value).nonzero()[0])] for value in part[0]]


def test_indices_into_two_axes_are_renumbered() -> None:
    x = random(600, 700)
    rows, columns = torch.arange(400, 410)[:, None], torch.arange(-20, 0)[None, :]
    full = infer("aten.index.Tensor", (x, [rows, columns]))
    part = cut(full, 2000)
    (ours,) = invoke(part.operator, part.tensors, part.sizes)
    assert set(ours.reshape(-1).tolist()) <= set(x[rows, columns].reshape(-1).tolist())
    assert int(part.tensors[2].max()) < 0, "negative indices stay negative"


def test_products_of_axes_are_cut_by_their_factors() -> None:
    def view(batch: int, rows: int) -> tuple[tuple[object, ...], dict[str, object]]:
        x = torch.arange(batch * rows * 64, dtype=torch.float32).reshape(batch * rows, 64)
        return (x, [batch, rows, 64]), {}

    full = infer_many("aten.view.default", [view(6, 50), view(4, 30)])[0]
    part = cut(full, 1000)
    (ours,) = invoke(part.operator, part.tensors, part.sizes)
    assert elements(part) <= 1000
    assert ours.shape[0] >= 2
    # A member of the batch keeps rows of its own only.
    owners = ours.reshape(ours.shape[0], -1) // (50 * 64)
    assert all(len(owner.unique()) == 1 for owner in owners)
    assert len(owners[:, 0].unique()) == ours.shape[0]


def test_fixed_extents_stay() -> None:
    x = random(1, 30, 384)
    full = infer_many("aten.view.default", [((x, [1, 30, -1, 32]), {}), ((random(2, 9, 320), [2, 9, -1, 32]), {})])[0]
    part = cut(full, 200)
    (ours,) = invoke(part.operator, part.tensors, part.sizes)
    assert ours.shape[-1] == 32


def test_large_outputs_count() -> None:
    full = infer_many(
        "aten.expand.default",
        [((random(1, 1, 9), [1, 2000, 9]), {}), ((random(1, 1, 8), [1, 700, 8]), {})],
    )[0]
    part = cut(full, 1000)
    (ours,) = invoke(part.operator, part.tensors, part.sizes)
    assert ours.numel() <= 2000  # twice the limit


def test_a_small_call_stays_as_it_is() -> None:
    full = layer_norm(2, 3, 16)
    part = cut(full)
    assert part.sizes == full.sizes
    assert all(torch.equal(a, b) for a, b in zip(part.tensors, full.tensors, strict=True))


def test_cutting_is_deterministic() -> None:
    one, two = cut(layer_norm(), 700), cut(layer_norm(), 700)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors, two.tensors, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    x = random(8, 64, 64).to(dtype)
    part = cut(infer("aten.add.Tensor", (x, x.flip(0).contiguous())), 500)
    assert part.tensors[0].dtype == dtype
    assert elements(part) <= 500


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 9),
    rows=st.integers(1, 70),
    inner=st.integers(1, 70),
    columns=st.integers(1, 70),
    limit=st.integers(1, 4000),
)
def test_any_window_is_a_valid_call_within_its_limit(
    batch: int, rows: int, inner: int, columns: int, limit: int
) -> None:
    full = infer_many(
        "aten.bmm.default",
        [
            ((random(batch, rows, inner), random(batch, inner, columns)), {}),
            ((random(2, 3, 5), random(2, 5, 7)), {}),
        ],
    )[0]
    part = cut(full, limit)
    smallest = 2  # one element per operand
    assert elements(part) <= max(limit, smallest)
    assert tuple(t.shape for t in part.tensors) == part.operator.shapes(part.sizes)
    (ours,) = invoke(part.operator, part.tensors, part.sizes)
    assert ours.shape == (part.tensors[0].shape[0], part.tensors[0].shape[1], part.tensors[1].shape[2])
    if limit >= math.prod((batch, rows, inner)) + math.prod((batch, inner, columns)) + batch * rows * columns:
        assert part.sizes == full.sizes


def _as_arguments(call: InferredCall) -> tuple[object, ...]:
    return (call.operator, call.tensors, call.sizes)
