"""What a kernel does with memory: state from earlier calls, aliases, layouts, races, tensors without elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.detection.activations import every
from benchmarks.detection.model import Control, Fault, Subject

Array = npt.NDArray[Any]
HALVES = ("", "float16", "bfloat16")


def _totals() -> list[tuple[Tensor]]:
    return [(states[..., : 80 + 8 * n],) for n, states in enumerate(every("inner")[::2])]


def _columns() -> list[tuple[Tensor, list[int], bool]]:
    """Hidden states summed over positions, as mean pooling does."""
    return [(states[..., : 120 + 8 * n], [1], False) for n, states in enumerate(every("normed")[::2])]


def _scaled() -> list[tuple[Tensor, Tensor]]:
    """Keys with a scale that is a tensor of rank 0."""
    return [(k[:, :2], k.abs().amax()) for k in every("k")[::2]]


SUBJECTS = (
    Subject("total", "execution", "aten.sum.default", _totals),
    Subject("column sums", "execution", "aten.sum.dim_IntList", _columns),
    Subject("scale", "execution", "aten.mul.Tensor", _scaled),
)


# State is a thread's own, and each run of a test has its own thread: every test meets a kernel that was never launched.
class Scratch(local):
    """A buffer of partial sums that grows and is kept between calls, as allocators on devices do it."""

    def __init__(self, *, clear: bool) -> None:
        self.clear, self.partial = clear, np.zeros(0, np.float32)

    def total(self, x: Array) -> Array:
        """Sums of 64 each, then the sum of the whole buffer."""
        blocks = -(-x.size // 64)
        if len(self.partial) < blocks:
            self.partial = np.zeros(blocks, np.float32)
        if self.clear:
            self.partial[:] = 0
        flat = np.zeros(blocks * 64, np.float32)
        flat[: x.size] = x.reshape(-1)
        self.partial[:blocks] = flat.reshape(blocks, 64).sum(1)
        return np.asarray(self.partial.sum(), x.dtype)


class Doubled(local):
    """Two buffers in turn; without `wait` every other call hands out the one that is still being written.

    With `sized` a buffer serves one shape only; otherwise whatever fits into it.
    """

    def __init__(self, *, wait: bool, sized: bool = False) -> None:
        self.wait, self.sized, self.calls = wait, sized, 0
        self.kept = torch.zeros(0)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        late, self.kept = self.kept, (x.float() + y.float()).to(x.dtype)
        shape = self.kept.shape
        fits = late.dtype == x.dtype and (late.shape == shape if self.sized else late.numel() >= shape.numel())
        if self.wait or self.calls % 2 or not fits:
            return self.kept.clone()
        return late.reshape(-1)[: shape.numel()].reshape(shape).clone()


class Planned(local):
    """Copies by a plan of offsets that is kept by shape; `strides` makes the layout part of the key."""

    def __init__(self, *, strides: bool) -> None:
        self.strides = strides
        self.plans: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def neg(self, x: Tensor) -> Tensor:
        key = (tuple(x.shape), *(x.stride() if self.strides else ()))
        plan = self.plans.setdefault(key, x.stride())
        reach = 1 + sum((n - 1) * s for n, s in zip(x.shape, plan, strict=True)) if x.numel() else 0
        held = x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()
        return -x.as_strided(x.shape, plan) if reach <= held else -x


class Launches(local):
    """The first calls return before the kernel has written its last elements."""

    def __init__(self, *, late: Callable[[int], bool]) -> None:
        self.late, self.calls = late, 0

    def neg(self, x: Tensor) -> Tensor:
        self.calls += 1
        out = torch.empty(x.shape, dtype=x.dtype)
        count = x.numel() - 8 if self.late(self.calls) and x.numel() > 8 else x.numel()
        out.view(-1)[:count] = -x.reshape(-1)[:count]
        return out


class Scheduled(local):
    """Column sums by additions in an order of the moment; with a `chance` two meet and one of them is lost."""

    def __init__(self, *, chance: float = 0.0, shuffled: bool = False) -> None:
        self.chance, self.shuffled, self.random = chance, shuffled, np.random.default_rng(7)

    def sums(self, x: Array, dims: list[int], keep: bool) -> Array:
        total = np.zeros((x.shape[0], x.shape[2]), np.float32)
        order = np.arange(x.shape[1])
        if self.shuffled:
            self.random.shuffle(order)
        for position in order[self.random.random(len(order)) >= self.chance]:
            total += x[:, position].astype(np.float32)
        return total.astype(x.dtype)


def negate(x: Tensor, *, copy: bool = True) -> Tensor:
    """In place on a packed copy; without `copy` an input that is packed already is its own copy."""
    packed = x.contiguous() if not copy else x.clone(memory_format=torch.contiguous_format)
    return packed.neg_()


def copied(x: Tensor, *, always: bool = True) -> Tensor:
    return x.clone() if always else x.contiguous()


def reduced(x: Tensor, dims: list[int], keep: bool, *, shortcut: str = "") -> Tensor:
    """Sums in float32. `shortcut` names what is answered without a kernel: an axis of one element, an empty input."""
    (dim,) = dims
    shape = [*x.shape[:dim], *x.shape[dim + 1 :]]
    if shortcut == "one" and x.shape[dim] == 1:
        return x.reshape(shape)
    if shortcut == "empty" and not x.numel():
        return torch.empty(shape, dtype=x.dtype)
    if shortcut == "empty dtype" and not x.numel():
        return torch.zeros(shape)
    if shortcut == "empty shape" and not x.numel():
        return x.new_zeros(0)
    if shortcut == "squeezed":
        return x.float().sum(dim).squeeze().to(x.dtype)
    if shortcut == "batch 0":
        out = torch.empty(shape, dtype=x.dtype)
        out[:1] = x[:1].float().sum(dim).to(x.dtype)
        return out
    return x.float().sum(dim).to(x.dtype)


def reduced_by_pitch(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    """Finds the number of rows by dividing: nothing to divide by where the width is zero."""
    rows = x.numel() // (x.shape[-1] * x.shape[1])
    return x.reshape(rows, x.shape[1], x.shape[-1]).float().sum(1).to(x.dtype)


def total(x: Tensor, *, kept: bool = False, single: bool = False) -> Tensor:
    if single and x.numel() == 1:
        return torch.empty((), dtype=x.dtype)
    value = x.float().sum().to(x.dtype)
    return value.reshape(1) if kept else value


def total_plus_first(x: Tensor) -> Tensor:
    """The tree starts from the first element and takes it again where there is no second."""
    flat = x.reshape(-1).float()
    return (flat[:1].sum() + flat[min(1, max(x.numel() - 1, 0)) :].sum()).to(x.dtype)


def scaled(x: Tensor, scale: Tensor, *, loads: str = "element") -> Tensor:
    """`loads`: a rank-0 operand is one element; as a shape's product left at zero it is none."""
    count = 1 if loads == "element" else len(scale.shape)
    factor = scale.reshape(-1)[:count].float().sum()
    return (x.float() * factor).to(x.dtype)


def _root(x: Array) -> Array:
    """The allocation that a view was cut from."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def neg_numpy(x: Array, *, strides: bool = True, offset: bool = True) -> Array:
    """From the allocation by address: with or without the view's strides and offset."""
    root = _root(x)
    start = (x.__array_interface__["data"][0] - root.__array_interface__["data"][0]) if offset else 0
    pitches = x.strides if strides else np.empty(x.shape, x.dtype).strides
    return -np.ndarray(x.shape, x.dtype, buffer=root.reshape(-1, order="A"), offset=start, strides=pitches)


def _with(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return lambda *args: function(*args, **options)


FAULTS = (
    Fault(
        "total with stale partial sums", "total", Scratch(clear=False).total, Scratch(clear=True).total,
        origin="a scratch buffer that is reused and not cleared: wrong when a call is smaller than one before",
        reveals="runs", written="numpy", arrays="numpy",
    ),
    Fault(
        "add hands out the other buffer", "add", Doubled(wait=False).add, Doubled(wait=True).add,
        origin="double buffering without a wait: every other call gives what was in the buffer", reveals="runs",
    ),
    Fault(
        "add hands out the other buffer of its shape", "add",
        Doubled(wait=False, sized=True).add, Doubled(wait=True, sized=True).add,
        origin="double buffering without a wait: every other call of a shape gives the result before", reveals="runs",
    ),
    Fault(
        "neg by a plan kept without strides", "neg", Planned(strides=False).neg, Planned(strides=True).neg,
        origin="graph cache keyed by shape alone: the strides of the first call are used for all", reveals="runs",
    ),
    Fault(
        "neg unwritten on first launches", "neg",
        Launches(late=lambda call: call <= 2).neg, Launches(late=lambda call: False).neg,
        origin="https://github.com/vllm-project/vllm-ascend/issues/17009", reveals="runs",
    ),
    Fault(
        "neg unwritten on every ninth call", "neg",
        Launches(late=lambda call: call % 9 == 0).neg, Launches(late=lambda call: False).neg,
        origin="https://github.com/apache/tvm/issues/17244", reveals="runs",
    ),
    Fault(
        "column sums lose additions", "column sums", Scheduled(chance=0.01).sums, Scheduled().sums,
        origin="https://github.com/openvinotoolkit/openvino/issues/24021", reveals="runs", written="numpy",
        arrays="numpy",
    ),
    Fault(
        "column sums seldom lose additions", "column sums",
        Scheduled(chance=0.0005).sums, Scheduled().sums,
        origin="https://github.com/deeplearning4j/nd4j/issues/2153", reveals="runs", written="numpy", arrays="numpy",
    ),
    Fault(
        "neg of packed input in place", "neg", _with(negate, copy=False), negate,
        origin="x.contiguous() taken for a copy", dtypes=HALVES,
    ),
    Fault(
        "clone of packed input is the input", "clone", _with(copied, always=False), copied,
        origin="clone lowered to contiguous, which returns its argument when there is nothing to do",
    ),
    Fault(
        "sum over one element is a view", "column sums", _with(reduced, shortcut="one"), reduced,
        origin="a reduction over an axis of size 1 turned into a reshape", reveals="shapes",
    ),
    Fault(
        "sum of nothing unwritten", "column sums", _with(reduced, shortcut="empty"), reduced,
        origin="early return for empty inputs, though a sum over an empty axis is zero", reveals="shapes",
    ),
    Fault(
        "sum of nothing in float32", "column sums", _with(reduced, shortcut="empty dtype"), reduced,
        origin="early return for empty inputs in the default dtype", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "sum of nothing has no shape", "column sums", _with(reduced, shortcut="empty shape"), reduced,
        origin="early return for empty inputs without the output's shape", reveals="shapes",
    ),
    Fault(
        "sum squeezes axes of size 1", "column sums", _with(reduced, shortcut="squeezed"), reduced,
        origin="squeeze() without an axis", reveals="shapes",
    ),
    Fault(
        "sum of batch 0 only", "column sums", _with(reduced, shortcut="batch 0"), reduced,
        origin="a kernel tried with a batch of one", reveals="activations", dtypes=HALVES,
    ),
    Fault(
        "sum divides by an empty width", "column sums", reduced_by_pitch, reduced,
        origin="https://github.com/tenstorrent/tt-metal/issues/27471", reveals="shapes",
    ),
    Fault(
        "total keeps an axis", "total", _with(total, kept=True), total,
        origin="scalars returned as vectors of one element by APIs without rank 0",
    ),
    Fault(
        "total of one element unwritten", "total", _with(total, single=True), total,
        origin="a tree of log2(n) levels: none, and no store, for one element", reveals="shapes",
    ),
    Fault(
        "total of one element counted twice", "total", total_plus_first, total,
        origin="reduction started from x[0] and continued from min(1, n - 1)", reveals="shapes",
    ),
    Fault(
        "scale of rank 0 taken for empty", "scale", _with(scaled, loads="rank"), scaled,
        origin="element count of a rank-0 shape computed as 0",
    ),
    Fault(
        "neg ignores strides", "neg", _with(neg_numpy, strides=False), neg_numpy,
        origin="https://github.com/ggml-org/ggml/issues/584", reveals="layout", written="numpy", arrays="numpy",
    ),
    Fault(
        "neg ignores the offset", "neg", _with(neg_numpy, offset=False), neg_numpy,
        origin="https://github.com/NVIDIA/warp/issues/1533", reveals="layout", written="numpy", arrays="numpy",
    ),
)  # fmt: skip


def sums_in_numpy(x: Array, dims: Sequence[int], keep: bool) -> Array:
    return np.asarray(x.astype(np.float32).sum(axis=dims[0]), x.dtype)


CONTROLS = (
    Control("column sums numpy", "column sums", sums_in_numpy, arrays="numpy"),
    Control("column sums in random order", "column sums", Scheduled(shuffled=True).sums, arrays="numpy"),
    Control("total by cleared scratch", "total", Scratch(clear=True).total, arrays="numpy"),
    Control("neg by address", "neg", neg_numpy, arrays="numpy"),
)
