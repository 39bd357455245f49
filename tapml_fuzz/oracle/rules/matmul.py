"""Matrix products."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import movement
from tapml_fuzz.oracle import summation as s
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.elementwise import scaled
from tapml_fuzz.oracle.tracked import Tracked


def product(x: Tracked, y: Tracked, start: Tracked | None = None) -> Tracked:
    """x @ y over the last two axes, batch axes broadcast.

    Error |x| ey + ex |y| + ex ey for the operands, plus (g(n) + 1) u |x| |y| for n products and their sum; the 1 is
    the rounding of each product where no fused multiply-add is used. The terms repeat only as often as both a row
    of x and a column of y do. `start` is what is added to the product afterwards (a bias): where the sum starts
    from it, every addition rounds relative to it too.
    """
    a = x.arithmetic
    x, y = e.floating(x, a), e.floating(y, a)
    value, weight = x.value @ y.value, x.value.abs() @ y.value.abs()
    n = x.value.shape[-1]
    repeats: Tensor | float = s.multiplicity(x.value, -1, a.roundoff)
    if isinstance(repeats, Tensor):
        columns = s.multiplicity(y.value, -2, a.roundoff)
        repeats = torch.minimum(repeats, columns) if isinstance(columns, Tensor) else columns
    # What an infinite start makes infinite does not round.
    gathered = weight if start is None else weight + start.value.abs().nan_to_num(0.0, 0.0)
    share: Tensor | float = 0.0
    if n:
        largest = x.value.abs().amax(-1, keepdim=True) * y.value.abs().amax(-2, keepdim=True)
        share = s.largest_share(largest, gathered)
    own = gathered * ((s.growth(n if start is None else n + 1, repeats, share) + 1.0) * a.roundoff)
    if (lost := s.absorbed_products(x.value, y.value, a.roundoff)) is not None:
        own = torch.minimum(own + lost, gathered * ((n + 1) * a.roundoff))
    own.add_(n * a.underflow)
    error: Tensor | None = None
    if y.error is not None:
        reach = x.value.abs() if x.error is None else x.value.abs() + x.error
        error = reach @ movement.dense_error(y)
    if x.error is not None:
        part = movement.dense_error(x) @ y.value.abs()
        error = part if error is None else error + part
    watched = (_folded(x, -1), _folded(y, -2))
    sign = x.nonnegative and y.nonnegative
    unsure = s.infinite_and_overflowing(
        value, weight, a.largest, lambda: s.product_parts(x.value, y.value, torch.matmul)
    )
    if (vanishing := e.infinite_by_zero(x, y, torch.matmul)) is not None:
        unsure = vanishing if unsure is None else unsure | vanishing
    return a.rounded(value, error, watched, own=own, magnitude=weight, nonnegative=sign, unbounded=unsure)


def _folded(x: Tracked, dim: int) -> Tracked:
    """A stand-in with `dim` reduced to its worst element, to find overflow and unjudged rows by."""
    if x.error is None and not x.overflows:
        return x
    error = None if x.error is None else movement.dense_error(x).amax(dim, keepdim=True)
    return Tracked(x.value.abs().amax(dim, keepdim=True), x.arithmetic, error, x.storage_dtype, x.overflows)


@rule("aten.mm", "aten.bmm")
def mm(x: Tracked, y: Tracked, out_dtype: torch.dtype | None = None) -> Tracked:
    """With `out_dtype` the same product: nothing is stored before the output, whose rounding is added last."""
    return product(x, y)


@rule("aten.matmul")
def matmul(x: Tracked, y: Tracked, start: Tracked | None = None) -> Tracked:
    """One-dimensional operands get an axis, which is dropped again."""
    row, column = x.value.ndim == 1, y.value.ndim == 1
    x = movement.moved(torch.unsqueeze, x, 0) if row else x
    y = movement.moved(torch.unsqueeze, y, -1) if column else y
    if column and start is not None and start.value.ndim:
        start = movement.moved(torch.unsqueeze, start, -1)
    result = product(x, y, start)
    if column:
        result = movement.moved(torch.squeeze, result, -1)
    return movement.moved(torch.squeeze, result, -1 if column else -2) if row else result


rule("aten.dot", "aten.mv", "aten.vdot")(matmul)


def biased(result: Tracked, start: Tracked, like: Tracked) -> Tracked:
    """A sum of products plus a bias, which is added to that sum as it is or as it was stored, in the dtype of `like`.

    torch does either. Its linear on an input that is not contiguous is a product and an addition of their own, and
    cuBLASLt's algorithms that split k add the bias in the result's dtype (pytorch/pytorch pull request 180875).
    """
    stored = e.store_intermediate(result, like)
    total = e.add(start, stored)
    if stored.storage_dtype == result.storage_dtype:
        return total
    name = str(stored.storage_dtype).removeprefix("torch.")
    limit = dtypes.largest(name)
    over = result.value.abs() > limit
    if not bool(over.any()):
        return total
    # Infinity, as which a sum out of range is stored, is the answer where the total is out of that range as well.
    beyond = over & (torch.isnan(start.value) | (total.value * result.value.sign() > limit))
    direct = movement.dense_error(e.add(start, result)) + result.value.abs() * dtypes.unit_roundoff(name)
    return total.with_error(torch.where(beyond, direct, movement.dense_error(total)))


@rule("aten.addmm", "aten.baddbmm", "aten.addmv")
def addmm(
    bias: Tracked,
    x: Tracked,
    y: Tracked,
    out_dtype: torch.dtype | None = None,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tracked:
    """beta * bias + alpha * x @ y. With beta zero, bias is not read at all (NaN in it does not spread)."""
    start = None if beta == 0 else scaled(bias, beta)
    assert start is None or isinstance(start, Tracked)
    result = scaled(matmul(x, y, start), alpha)
    assert isinstance(result, Tracked)
    for factor, dim in ((x, -1), (y, -2)):
        # BLAS may scale one of the factors instead (its reference does), which may be infinite for that.
        scaled_first = scaled(factor, alpha)
        assert isinstance(scaled_first, Tracked)
        if scaled_first.overflows:
            lost = scaled_first.beyond()
            lost = lost.any(dim, keepdim=True) if factor.value.ndim + dim >= 0 else lost.any()
            result = result.with_error(torch.where(lost, torch.inf, movement.dense_error(result)))
    if start is None:
        return result
    return biased(result, start, x if out_dtype is None else replace(x, storage_dtype=out_dtype))


@rule("aten.addbmm")
def addbmm(bias: Tracked, x: Tracked, y: Tracked, beta: float = 1, alpha: float = 1) -> Tracked:
    """The products of all batches, added to beta * bias one by one; torch stores every one of these sums."""
    rows = movement.moved(lambda t: t[:1].transpose(0, 1).flatten(1), x)  # without a batch a product over nothing
    total = addmm(bias, rows, movement.moved(lambda t: t[:1].flatten(0, 1), y), beta=beta, alpha=alpha)
    for i in range(1, len(x.value)):
        one, other = (movement.moved(torch.select, t, 0, i) for t in (x, y))
        total = addmm(e.store_intermediate(total, x), one, other, alpha=alpha)
    return total


@rule("aten.linear")
def linear(x: Tracked, weight: Tracked, bias: Tracked | None = None) -> Tracked:
    """x weight^T + bias, as one product."""
    result = matmul(x, movement.moved(torch.transpose, weight, 0, 1) if weight.value.ndim == 2 else weight, bias)
    return result if bias is None else biased(result, bias, x)
