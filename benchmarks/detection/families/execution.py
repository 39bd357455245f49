"""How a kernel is launched: grids, blocks, tails, index arithmetic. What it computes is as simple as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")


def _residuals() -> list[tuple[Tensor, Tensor]]:
    """A residual stream and what a layer adds to it."""
    return [
        (recorded("residual", n, 1)[..., : 96 + 8 * n], recorded("normed", n, 5)[..., : 96 + 8 * n]) for n in BATCHES
    ]


def _queries() -> list[tuple[Tensor]]:
    """Halves of queries, as rotary embeddings negate them."""
    return [(q[:, :3, :, 16:],) for q in every("q")[::2]]


def _rows() -> list[tuple[Tensor, list[int], bool]]:
    return [(states[..., : 120 + 8 * n], [-1], False) for n, states in enumerate(every("inner")[::2])]


def _positions() -> list[tuple[Tensor, Tensor]]:
    """Positions of a batch's last tokens, and of all, among the tokens."""
    places = [(recorded("mask", n).cumsum(1) - 1).reshape(-1).float() for n in BATCHES]
    return [(every_one[-9 - n :], every_one) for n, every_one in enumerate(places)]


def _biased() -> list[tuple[Tensor, Tensor]]:
    """A bias per channel."""
    return [(states[..., : 96 + 8 * n], states[0, 0, : 96 + 8 * n]) for n, states in enumerate(every("inner")[1::2])]


def distances(queries: Tensor, keys: Tensor) -> Tensor:
    """How far every query is from every key, which relative position biases start from."""
    return queries[:, None] - keys[None, :]


SUBJECTS = (
    Subject("add", "execution", "aten.add.Tensor", _residuals),
    Subject("neg", "execution", "aten.neg.default", _queries, moves=True),
    Subject("row sums", "execution", "aten.sum.dim_IntList", _rows),
    Subject("distances", "execution", distances, _positions),
    Subject("add bias", "execution", "aten.add.Tensor", _biased),
)


def elementwise(function: Callable[..., Tensor], *inputs: Tensor, covered: Callable[[int], int]) -> Tensor:
    """One thread an element over packed inputs; `covered` says of how many elements the grid takes care."""
    out = torch.empty(inputs[0].shape, dtype=inputs[0].dtype)
    count = covered(out.numel())
    out.view(-1)[:count] = function(*(x.reshape(-1)[:count] for x in inputs))
    return out


def blocks_up(block: int) -> Callable[[int], int]:
    """A grid that ends beyond the last element, with a guard in the kernel."""
    return lambda n: min(-(-n // block) * block, n)


def blocks_down(block: int) -> Callable[[int], int]:
    return lambda n: n // block * block


def power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def adder(covered: Callable[[int], int]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: elementwise(torch.add, x, y, covered=covered)


def negater(covered: Callable[[int], int]) -> Callable[[Tensor], Tensor]:
    return lambda x: elementwise(torch.neg, x, covered=covered)


def row_sums(
    x: Tensor,
    dims: list[int],
    keep: bool,
    *,
    lanes: int = 32,
    tail: str = "masked",
    most: int | None = None,
    pairs: bool = False,
    most_rows: int | None = None,
) -> Tensor:
    """One block a row: `lanes` running sums, then a tree over the lanes, in float32.

    `tail` says what lanes beyond the row's end load: nothing, what follows in memory, or (if the rest is left out)
    they are not started. A block takes `most` columns; with `pairs` a block takes two rows; the grid has no more than
    `most_rows`.
    """
    rows, width = x.shape[:-1].numel(), x.shape[-1]
    packed = x.reshape(-1)
    padded = -(-width // lanes) * lanes
    at = torch.arange(rows)[:, None] * width + torch.arange(padded)
    inside = torch.arange(padded) < (width // lanes * lanes if tail == "dropped" else width)
    if tail == "next row":
        inside = at < packed.numel()
    if most is not None:
        inside = inside & (torch.arange(padded) < most)
    loaded = packed[at.clamp(max=packed.numel() - 1)] if packed.numel() else packed.new_zeros(at.shape)
    partial = torch.where(inside, loaded.float(), 0.0).reshape(rows, padded // lanes, lanes).sum(1)
    while partial.shape[-1] > 1:
        partial = partial[:, : partial.shape[-1] // 2] + partial[:, partial.shape[-1] // 2 :]
    out = torch.empty(rows, dtype=x.dtype)
    done = min(rows // 2 * 2 if pairs else rows, most_rows or rows)
    out[:done] = partial[:done, 0].to(x.dtype)
    return out.reshape(x.shape[:-1])


def pairwise(
    queries: Tensor,
    keys: Tensor,
    *,
    groups: int | None = None,
    size: int = 1,
    flat: torch.dtype = torch.int64,
    reciprocal: bool = False,
) -> Tensor:
    """Row and column of each element from its flat index.

    At most `groups` of `size` elements are launched; the flat index has dtype `flat`; with `reciprocal` it is divided
    by multiplication in float32.
    """
    rows, width = len(queries), len(keys)
    out = torch.empty(rows, width, dtype=queries.dtype)
    if not out.numel():
        return out
    at = torch.arange(rows * width)[: None if groups is None else groups * size].to(flat).long() % (rows * width)
    row = (at.float() * (1.0 / torch.tensor(width))).long() if reciprocal else at // width
    out.view(-1)[at] = queries[row.clamp(max=rows - 1)] - keys[(at - row * width).clamp(max=width - 1)]
    return out


def add_bias(x: Tensor, bias: Tensor, *, period: int | None = None) -> Tensor:
    """Channel of an element by remainder; `period` is a width that was compiled in."""
    width = bias.shape[0]
    if not x.numel() or width == 1:
        return x + bias
    channel = torch.arange(x.numel()) % width
    if period is not None:
        channel = channel % period
    return (x.reshape(-1).float() + bias[channel].float()).to(x.dtype).reshape(x.shape)


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


FAULTS = (
    *(
        Fault(
            f"add without the last partial block of {block}", "add", adder(blocks_down(block)), adder(blocks_up(block)),
            origin="grid of n / block blocks, rounded down", reveals="shapes",
        )
        for block in (32, 256, 1024)
    ),
    *(
        Fault(
            f"neg without the last partial block of {block}", "neg",
            negater(blocks_down(block)), negater(blocks_up(block)),
            origin="grid of n / block blocks, rounded down", reveals="shapes", dtypes=HALVES,
        )
        for block in (64, 128)
    ),
    Fault(
        "neg without the scalar tail", "neg", negater(blocks_down(4)), negater(blocks_up(4)),
        origin="loads of four without a loop for what is left", reveals="shapes",
    ),
    Fault(
        "neg without the last element at a power of two", "neg",
        negater(lambda n: n - 1 if power_of_two(n) else n), negater(lambda n: n),
        origin="number of steps by a bit count of n - 1", reveals="shapes",
    ),
    Fault(
        "neg without the last element past a power of two", "neg",
        negater(lambda n: n - 1 if power_of_two(n - 1) and n > 2 else n), negater(lambda n: n),
        origin="size rounded with a shift: 2^k + 1 falls into the class of 2^k", reveals="shapes",
    ),
    Fault(
        "add beyond the largest grid", "add", adder(lambda n: min(n, 65535)), adder(lambda n: n),
        origin="https://github.com/ROCm/MIOpen/issues/2314", reveals="shapes",
    ),
    Fault(
        "row sums drop the tail of 32 lanes", "row sums", _with(row_sums, tail="dropped"), row_sums,
        origin="loop of width / 32 steps, rounded down", dtypes=HALVES,
    ),
    Fault(
        "row sums read into the next row", "row sums", _with(row_sums, lanes=8, tail="next row"),
        _with(row_sums, lanes=8),
        origin="tail lanes masked by the tensor's end, not the row's", reveals="shapes",
    ),
    Fault(
        "row sums of the first 1024 columns", "row sums", _with(row_sums, most=1024), row_sums,
        origin="one block of 1024 threads a row, without a loop", reveals="shapes",
    ),
    Fault(
        "row sums of the first 65535 rows", "row sums", _with(row_sums, most_rows=65535), row_sums,
        origin="https://github.com/ggml-org/ggml/issues/877", reveals="shapes",
    ),
    Fault(
        "row sums of the first 512 columns", "row sums", _with(row_sums, most=512), row_sums,
        origin="a row in the shared memory of 512 numbers", reveals="shapes",
    ),
    Fault(
        "row sums without an odd last row", "row sums", _with(row_sums, pairs=True), row_sums,
        origin="two rows a block, grid rounded down", reveals="shapes",
    ),
    Fault(
        "distances in 65535 groups of 1", "distances", _with(pairwise, groups=65535), pairwise,
        origin="https://github.com/ggml-org/llama.cpp/pull/15882", reveals="shapes",
    ),
    Fault(
        "distances in 65535 groups of 4", "distances", _with(pairwise, groups=65535, size=4), pairwise,
        origin="https://github.com/sonos/tract/pull/2820", reveals="shapes",
    ),
    Fault(
        "distances in 65535 groups of 16", "distances", _with(pairwise, groups=65535, size=16), pairwise,
        origin="https://github.com/ml-explore/mlx/issues/2267", reveals="shapes",
    ),
    Fault(
        "distances by a flat index of 16 bits", "distances", _with(pairwise, flat=torch.uint16), pairwise,
        origin="https://github.com/triton-lang/triton/issues/832", reveals="shapes",
    ),
    Fault(
        "distances by a signed flat index of 16 bits", "distances", _with(pairwise, flat=torch.int16), pairwise,
        origin="https://github.com/flagos-ai/FlagGems/pull/5882", reveals="shapes",
    ),
    Fault(
        "distances with rows by reciprocal", "distances", _with(pairwise, reciprocal=True), pairwise,
        origin="row = int(i * (1.0 / width)) in float32: one too low where a multiple of the width rounds down",
        reveals="shapes",
    ),
    Fault(
        "bias of 128 channels", "add bias", _with(add_bias, period=128), add_bias,
        origin="a width compiled in from the first model: channel & 127", reveals="shapes",
    ),
)  # fmt: skip

CONTROLS = (
    Control("add by blocks", "add", adder(blocks_up(256)), dtypes=HALVES),
    Control("row sums by lanes and tree", "row sums", row_sums, dtypes=HALVES),
    Control("distances by flat index", "distances", pairwise, dtypes=HALVES),
)
