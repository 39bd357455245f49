"""Matrix products: mm, bmm, addmm and linear, in tiles, batches and splits of k."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, every, recorded, weight
from benchmarks.detection.model import Fault, Subject

_TILE = 32


def gemm(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Both scalars matter."""
    return torch.addmm(c, a, b, beta=2.0, alpha=0.125)


def overwriting_gemm(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """What lies in c is overwritten, not read."""
    return torch.addmm(c, a, b, beta=0.0)


def _layers() -> list[tuple[Tensor, Tensor]]:
    """Parts of a feed-forward layer, [m, k] by [k, n]: m in eights, n in sixteens, k in thirty-twos."""
    cuts = ((8, 96, 48), (16, 64, 64), (8, 128, 32), (8, 32, 80))
    calls = [("normed", 0, 1), ("residual", 1, 5), ("normed", 2, 1), ("residual", 0, 1)]
    return [
        (recorded(name, batch, layer)[0, :m, :k], weight("weight", layer)[:n, :k].T.contiguous())
        for (name, batch, layer), (m, k, n) in zip(calls, cuts, strict=True)
    ]


def _square() -> list[tuple[Tensor, Tensor]]:
    """An output projection: as wide as it is deep."""
    return [
        (recorded("normed", batch, 1)[0, :, :d], weight("weight", 1)[:d, :d].T.contiguous())
        for batch, d in zip(BATCHES, (48, 64, 32), strict=True)
    ]


def _scores() -> list[tuple[Tensor, Tensor]]:
    """Queries by keys, one batch per head."""
    pairs = zip(every("q"), every("k"), strict=True)
    return [(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2).contiguous()) for q, k in pairs]


def _accumulated() -> list[tuple[Tensor, Tensor, Tensor]]:
    """A product added to hidden states."""
    return [(recorded("residual", 1, 1)[0, : len(a), : b.shape[1]], a, b) for a, b in _layers()]


def _linear() -> list[tuple[Tensor, Tensor, Tensor]]:
    cuts = ((128, 24), (96, 32), (64, 48))
    return [
        (recorded("normed", batch, 5)[..., :k], weight("weight", 5)[:n, :k], weight("bias", 5)[:n])
        for batch, (k, n) in zip(BATCHES, cuts, strict=True)
    ]


SUBJECTS = (
    Subject("mm", "matmul", "aten.mm.default", _layers),
    Subject("square mm", "matmul", "aten.mm.default", _square),
    Subject("bmm", "matmul", "aten.bmm.default", _scores),
    Subject("gemm", "matmul", gemm, _accumulated),
    Subject("gemm without beta", "matmul", overwriting_gemm, _accumulated),
    Subject("linear", "matmul", "aten.linear.default", _linear),
)


def tiled(
    a: Tensor, b: Tensor, *, tile: int = _TILE, accumulator: torch.dtype = torch.float32, adds: bool = True
) -> Tensor:
    """A sum over tiles along k, kept in the dtype `accumulator`."""
    total = torch.zeros(a.shape[0], b.shape[1], dtype=accumulator)
    for start in range(0, a.shape[1], tile):
        part = (a[:, start : start + tile].float() @ b[start : start + tile].float()).to(accumulator)
        total = total + part if adds else part
    return total.to(a.dtype)


def without_tail(a: Tensor, b: Tensor) -> Tensor:
    """k // 32 tiles."""
    k = a.shape[1] // _TILE * _TILE
    return tiled(a[:, :k], b[:k])


def by_rows(a: Tensor, b: Tensor, *, guarded: bool = True) -> Tensor:
    """Tiles of eight rows, the last one partial."""
    out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    end = len(a) if guarded else len(a) // 8 * 8
    for start in range(0, end, 8):
        out[start : start + 8] = tiled(a[start : start + 8], b)
    return out


def overread(a: Tensor, b: Tensor, *, guarded: bool = True) -> Tensor:
    """Tiles of 64 along k. Past the end b gives zeros; a, where not guarded, gives its next row, times zero."""
    (m, k), missing = a.shape, -a.shape[1] % 64
    rows = torch.nn.functional.pad(a.float(), (0, missing))
    if not guarded and k:
        following = torch.cat([a[1:], a.new_zeros(min(m, 1), k)]).float()
        rows = torch.cat([a.float(), following.repeat(1, -(-missing // k))[:, :missing]], dim=1)
    return tiled(rows, torch.nn.functional.pad(b.float(), (0, 0, 0, missing)), tile=64).to(a.dtype)


def overstored(a: Tensor, b: Tensor, *, guarded: bool = True) -> Tensor:
    """Tiles of 16 x 16, row by row. Where n is no multiple, an unguarded store spills into the next row's start."""
    out = tiled(a, b)
    (m, n), spill = out.shape, -b.shape[1] % 16
    if guarded or n <= 16 or m < 2:
        return out
    beside = tiled(a, torch.cat([b[1:, :spill], b.new_zeros(1, spill)]))  # what a flat index finds past b's row
    later = torch.arange(1, m) % 16 != 0  # the first row of the next tile of rows is stored afterwards
    out[1:, :spill] = torch.where(later[:, None], beside[:-1], out[1:, :spill])
    return out


def packed(x: Tensor) -> Tensor:
    """The memory of x read as if its rows lay one after another."""
    return torch.as_strided(x, x.shape, torch.empty(x.shape, device="meta").stride())


def flat_batches(x: Tensor, stride: int) -> Tensor:
    """Batches read from flat memory at a distance of `stride`, zeros past the end."""
    count, rows, columns = x.shape
    place = torch.arange(count)[:, None] * stride + torch.arange(rows * columns)
    memory = torch.cat([x.reshape(-1), x.new_zeros(1)])
    return memory[place.clamp(max=x.numel())].reshape(x.shape)


def leading(a: Tensor, b: Tensor, *, by_columns: bool = True) -> Tensor:
    """b read from flat memory, its leading dimension being its columns, or mistakenly its rows."""
    k, n = b.shape
    place = torch.arange(k)[:, None] * (n if by_columns else k) + torch.arange(n)
    memory = torch.cat([b.reshape(-1), b.new_zeros(1)])
    return tiled(a, memory[place.clamp(max=b.numel())])


def batched(a: Tensor, b: Tensor, *, launched: int | None = None) -> Tensor:
    """One work-group a batch; `launched` caps how many there can be."""
    out = torch.empty(a.shape[0], a.shape[1], b.shape[2], dtype=a.dtype)
    out[:launched] = (a[:launched].float() @ b[:launched].float()).to(a.dtype)
    return out


def wrong_batch_stride(a: Tensor, b: Tensor) -> Tensor:
    return batched(a, flat_batches(b, a.shape[1] * a.shape[2]))


def to_ten_bits(x: Tensor) -> Tensor:
    """A significand cut to ten bits, as TensorFloat-32 has."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def through_float16(a: Tensor, b: Tensor) -> Tensor:
    """For hardware whose matrix unit takes float16 alone: exact in bfloat16's digits, not in its range."""
    return tiled(a.half().float(), b.half().float()).to(a.dtype)


def doubled(a: Tensor, b: Tensor) -> Tensor:
    """The store holds twice the sum before it halves it."""
    return (tiled(a.float(), b.float()) * 2).half().float().div(2).to(a.dtype)


def scaled(c: Tensor, a: Tensor, b: Tensor, *, apart: bool = True) -> Tensor:
    """alpha scales the product only; not `apart`, it scales c as well."""
    product = a.float() @ b.float()
    total = 0.125 * product + 2.0 * c.float() if apart else 0.125 * (product + 2.0 * c.float())
    return total.to(a.dtype)


def overwriting(c: Tensor, a: Tensor, b: Tensor, *, reads: bool = False) -> Tensor:
    total = a.float() @ b.float()
    return (total + 0.0 * c.float() if reads else total).to(a.dtype)


def split(x: Tensor, w: Tensor, bias: Tensor, *, once: bool = True) -> Tensor:
    """k in splits of 128 that are added up; the bias belongs to the first."""
    start = bias.float().expand(*x.shape[:-1], -1)
    total = start.clone()
    for place in range(0, x.shape[-1], 128):
        total += x[..., place : place + 128].float() @ w[:, place : place + 128].float().T
        if place and not once:
            total += start
    return total.to(x.dtype)


HALVES = ("", "float16", "bfloat16")

FAULTS = (
    Fault(
        "mm accumulates in float16", "mm", lambda a, b: tiled(a, b, tile=8, accumulator=torch.float16),
        lambda a, b: tiled(a, b, tile=8), origin="https://github.com/NVIDIA/cutlass/issues/1188", dtypes=("float16",),
    ),
    Fault(
        "mm overwrites its accumulator", "mm", lambda a, b: tiled(a, b, adds=False), tiled,
        origin="`acc =` for `acc +=` in the loop over tiles of k", dtypes=HALVES,
    ),
    Fault(
        "mm drops the tail of k", "mm", without_tail, tiled,
        origin="https://github.com/tile-ai/tilelang-ascend/issues/1341", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "mm drops the tail of m", "mm", lambda a, b: by_rows(a, b, guarded=False), by_rows,
        origin="https://github.com/NVIDIA/Fuser/issues/3963", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "mm stores past the right edge", "mm", lambda a, b: overstored(a, b, guarded=False), overstored,
        origin="a store without a check of n: the spill lands in the next row", reveals="shapes",
    ),
    Fault(
        "mm reads past the row of a", "mm", lambda a, b: overread(a, b, guarded=False), overread,
        origin="only one operand's load is guarded: what the other reads past the edge is multiplied by zero",
        reveals="specials",
    ),
    Fault(
        "mm ignores strides", "mm", lambda a, b: tiled(a, packed(b)), tiled,
        origin="a pointer is passed on without the tensor's strides", reveals="layout",
    ),
    Fault(
        "mm leading dimension of the wrong side", "square mm", lambda a, b: leading(a, b, by_columns=False), leading,
        origin="ldb is given as k, not n: right for square weights alone", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "mm in TensorFloat-32", "mm", lambda a, b: tiled(to_ten_bits(a), to_ten_bits(b)), tiled,
        origin="https://github.com/ml-explore/mlx/issues/3860",
    ),
    Fault(
        "mm infinite from half the largest float16", "mm", doubled, tiled,
        origin="https://github.com/sbryngelson/ANEForge/issues/115", reveals="activations", dtypes=("float16",),
    ),
    Fault(
        "mm of bfloat16 through float16", "mm", through_float16, tiled,
        origin="bfloat16 operands are converted to float16 for a matrix unit that lacks them", reveals="activations",
        dtypes=("bfloat16",),
    ),
    Fault(
        "bmm takes the first batch of b", "bmm", lambda a, b: batched(a, b[:1].expand_as(b)), batched,
        origin="the batch index is applied to one operand only", dtypes=HALVES,
    ),
    Fault(
        "bmm batch stride of a for b", "bmm", wrong_batch_stride, batched,
        origin="one batch stride for both operands: right while m equals n", reveals="shapes",
    ),
    Fault(
        "bmm beyond 1024 batches", "bmm", lambda a, b: batched(a, b, launched=1024), batched,
        origin="a grid dimension clipped to a device limit", reveals="shapes",
    ),
    Fault(
        "gemm scales c by alpha", "gemm", lambda c, a, b: scaled(c, a, b, apart=False), scaled,
        origin="alpha is applied after c was added", dtypes=HALVES,
    ),
    Fault(
        "gemm reads c with beta zero", "gemm without beta", lambda c, a, b: overwriting(c, a, b, reads=True),
        overwriting, origin="https://github.com/pytorch/pytorch/issues/196596", reveals="specials", dtypes=HALVES,
    ),
    Fault(
        "linear adds its bias in every split", "linear", lambda *a: split(*a, once=False), split,
        origin="split-K: every split adds the bias", reveals="shapes", dtypes=HALVES,
    ),
)  # fmt: skip
