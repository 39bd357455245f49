"""Layer and RMS normalisation over the last axis. See `groups.py` for group norm and L2 normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.activations import LAYERS, every, recorded, weight
from benchmarks.detection.families.reductions import merged, of_squares, two_pass, updated
from benchmarks.detection.families.sums import ALL, HALF, lanes
from benchmarks.detection.model import Control, Fault, Subject

BERT_EPS, LLAMA_EPS = 1e-12, 1e-6


def _tokens(batch: int, layer: int) -> Tensor:
    """Residual streams, of each batch another number of tokens."""
    return recorded("residual", batch, layer).flatten(0, 1)[: 9 + 2 * batch]


def _layers() -> list[tuple[Tensor, list[int], Tensor, Tensor, float]]:
    return [
        (_tokens(batch, layer), [384], weight("gamma", layer), weight("beta", layer), BERT_EPS)
        for batch in range(3)
        for layer in LAYERS
    ]


def _roots() -> list[tuple[Tensor, list[int], Tensor, float]]:
    return [(_tokens(batch, layer), [384], weight("gamma", layer), LLAMA_EPS) for batch in range(3) for layer in LAYERS]


def _gated() -> list[tuple[Tensor, list[int], Tensor, float]]:
    """Queries normalised head by head, as newer models do; their eps is not small beside what they hold."""
    return [(q[:, 0], [32], weight("gamma", 5)[:32], 1e-5) for q in every("q")]


SUBJECTS = (
    Subject("layer norm", "normalisation", "aten.layer_norm.default", _layers),
    Subject("rms norm", "normalisation", "aten.rms_norm.default", _roots),
    Subject("query norm", "normalisation", "aten.rms_norm.default", _gated),
)

Squares = Callable[[Tensor], Tensor]
Root = Callable[[Tensor, float], Tensor]
Affine = Callable[[Tensor, Tensor, Tensor], Tensor]


def reciprocal_root(variance: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(variance + eps)


def newton_root(variance: Tensor, eps: float, *, steps: int = 1) -> Tensor:
    """From an estimate of 12 bits, as x86's rsqrtps and many GPUs give it, by `steps` of Newton's.

    At zero and infinity the estimate is the answer, and a step would make a NaN of it.
    """
    x = variance + eps
    estimate = torch.rsqrt(x)
    mantissa, exponent = torch.frexp(estimate)
    root = torch.where(
        estimate.isfinite() & (estimate != 0), torch.ldexp((mantissa * 4096).round() / 4096, exponent), estimate
    )
    for _ in range(steps):
        better = root * (1.5 - 0.5 * x * root * root)
        root = torch.where(root.isfinite() & (root != 0), better, root)
    return root


def outside_root(variance: Tensor, eps: float) -> Tensor:
    return 1.0 / (variance.sqrt() + eps)


def without_eps(variance: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(variance)


def other_eps(variance: Tensor, eps: float, *, taken: float) -> Tensor:
    return torch.rsqrt(variance + taken)


def scale_and_shift(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return normal * gamma + beta


def scale_alone(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return normal * gamma


def scale_by_row(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Weights looked up by the number of the row, modulo their own."""
    rows = normal.shape[-2]
    return normal * gamma[torch.arange(rows) % max(gamma.shape[0], 1)][:, None] + beta


def shift_in_quads(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """The scalar loop behind the loop over vectors of 4 knows of gamma only."""
    width = normal.shape[-1]
    return normal * gamma + beta * (torch.arange(width) < width // 4 * 4)


def shift_first(normal: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return (normal + beta) * gamma


def layer_norm_by(
    squares: Squares = two_pass,
    root: Root = reciprocal_root,
    affine: Affine = scale_and_shift,
    mean: Squares = lambda rows: rows.mean(-1, keepdim=True),
    count: Callable[[int], int] = int,
) -> Callable[..., Tensor]:
    """`layer_norm(x, [n], gamma, beta, eps)` of given parts, in float32 inside; `count` terms enter the variance."""

    def layer_norm(x: Tensor, shape: Sequence[int], gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        if not x.numel():
            return x.clone()
        wide = x.float()
        variance = squares(wide) / count(x.shape[-1])
        normal = (wide - mean(wide)) * root(variance, eps)
        return affine(normal, gamma.float(), beta.float()).to(x.dtype)

    return layer_norm


def folded(x: Tensor, shape: Sequence[int], gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
    """One multiply-add an element. Of a row of one, whose deviation is nothing, only rounding would be left."""
    if not x.numel():
        return x.clone()
    if x.shape[-1] == 1:
        return torch.where(torch.isfinite(x), beta, x * 0)
    wide = x.float()
    factor = torch.rsqrt(two_pass(wide) / x.shape[-1] + eps) * gamma.float()
    return torch.addcmul(beta.float() - wide.mean(-1, keepdim=True) * factor, wide, factor).to(x.dtype)


def half_squares(rows: Tensor) -> Tensor:
    """Squared deviations in float16, added up in float32."""
    return (rows - rows.mean(-1, keepdim=True)).half().square().float().sum(-1, keepdim=True)


def padded_squares(rows: Tensor, *, block: int) -> Tensor:
    """Lanes beyond the row hold zeros, whose deviation is the mean."""
    mean = rows.mean(-1, keepdim=True)
    return (F.pad(rows, (0, -rows.shape[-1] % block)) - mean).square().sum(-1, keepdim=True)


def first_lanes(rows: Tensor, *, count: int) -> Tensor:
    """One element a lane: what is beyond does not enter."""
    return (rows - rows.mean(-1, keepdim=True))[..., :count].square().sum(-1, keepdim=True)


def float16_mean(rows: Tensor) -> Tensor:
    return lanes(rows, count=32, wide=torch.float16)[..., None] / rows.shape[-1]


def rms_norm_by(
    square: Squares = torch.square,
    root: Root = reciprocal_root,
    kept: Callable[[int], int] = int,
    divided: Callable[[int], int] = int,
    offset: float = 0.0,
    centred: bool = False,
    inverse: bool = False,
) -> Callable[..., Tensor]:
    """`rms_norm(x, [n], gamma, eps)`: of a row, `kept` squares are added and divided by `divided`.

    `offset` is added to gamma, `centred` subtracts the mean from what is squared, `inverse` divides by the root.
    """

    def rms_norm(x: Tensor, shape: Sequence[int], gamma: Tensor, eps: float) -> Tensor:
        if not x.numel():
            return x.clone()
        wide, width = x.float(), x.shape[-1]
        terms = square(wide - wide.mean(-1, keepdim=True) if centred else wide)[..., : kept(width)]
        scale = root(terms.sum(-1, keepdim=True) / divided(width), eps)
        return ((wide / scale if inverse else wide * scale) * (gamma.float() + offset)).to(x.dtype)

    return rms_norm


def half_square(wide: Tensor) -> Tensor:
    return wide.half().square().float()


def _layer(name: str, origin: str, correct: Callable[..., Tensor] | None = None, **about: object) -> Fault:
    """The parts of `layer_norm_by` are wrong, everything else is about the fault."""
    wrong = {k: about.pop(k) for k in ("squares", "root", "affine", "mean", "count") if k in about}
    given = {"dtypes": ALL, **about}
    faulty = layer_norm_by(**wrong)  # type: ignore[arg-type]
    return Fault(name, "layer norm", faulty, correct or layer_norm_by(), origin=origin, **given)  # type: ignore[arg-type]


def _rms(name: str, origin: str, subject: str = "rms norm", **about: object) -> Fault:
    parts = ("square", "root", "kept", "divided", "offset", "centred", "inverse")
    wrong = {k: about.pop(k) for k in parts if k in about}
    given = {"dtypes": ALL, **about}
    return Fault(name, subject, rms_norm_by(**wrong), rms_norm_by(), origin=origin, **given)  # type: ignore[arg-type]


def _padded(block: int) -> Callable[[int], int]:
    return lambda width: -(-width // block) * block


FAULTS = (
    _layer(
        "layer norm variance of squares", "https://github.com/microsoft/onnxruntime/issues/28463",
        squares=of_squares, reveals="activations",
    ),
    _layer("layer norm unbiased", "torch.var divides by n - 1 unless told not to", count=lambda width: width - 1),
    _layer(
        "layer norm without eps", "eps lost in conversion: 0 * inf where a row is constant",
        root=without_eps, reveals="structure",
    ),
    _layer(
        "layer norm eps outside root", "https://github.com/microsoft/CNTK/issues/3816",
        root=outside_root, reveals="activations",
    ),
    _layer(
        "layer norm eps 1e-5", "https://github.com/nomic-ai/gpt4all/pull/1946",
        root=partial(other_eps, taken=1e-5), dtypes=("",),
    ),
    _layer(
        "layer norm squares in float16", "https://github.com/microsoft/onnxruntime/issues/31626",
        squares=half_squares, reveals="activations", dtypes=HALF,
    ),
    _layer(
        "layer norm mean in float16", "https://github.com/pytorch/pytorch/issues/66707",
        mean=float16_mean, reveals="activations", dtypes=HALF,
    ),
    _layer("layer norm gamma by row", "weights indexed by the row's number", affine=scale_by_row),
    _layer("layer norm without beta", "the port knows of norms without a bias only", affine=scale_alone),
    _layer("layer norm beta before gamma", "(x + beta) * gamma", affine=shift_first),
    _layer(
        "layer norm beta in vectors of 4 only", "the tail loop behind a vector loop is older than beta",
        affine=shift_in_quads, reveals="shapes",
    ),
    _layer(
        "layer norm divides by padded width", "https://github.com/tenstorrent/tt-metal/pull/42801",
        count=_padded(32), reveals="shapes",
    ),
    _layer(
        "layer norm variance of padding of 64", "https://github.com/tenstorrent/tt-metal/pull/42549",
        squares=partial(padded_squares, block=64), reveals="shapes",
    ),
    _layer(
        "layer norm variance of 1024", "one element a thread, a work-group of at most 1024",
        squares=partial(first_lanes, count=1024), reveals="shapes",
    ),
    _layer(
        "layer norm merges blocks of 128 as equal", "a merge of Welford's that takes the last block for a full one",
        layer_norm_by(partial(merged, block=128)), squares=partial(merged, block=128, equal=True), reveals="shapes",
    ),
    _layer(
        "layer norm root of 12 bits", "rsqrtps and its like without a step of Newton's",
        layer_norm_by(root=newton_root), root=partial(newton_root, steps=0), dtypes=("",),
    ),
    _rms(
        "rms norm gamma plus one", "https://github.com/pytorch/executorch/pull/19901", offset=1.0,
    ),
    _rms("rms norm of deviations", "https://github.com/stanford-cs336/assignment1-basics/issues/93", centred=True),
    _rms("rms norm divides by reciprocal", "https://github.com/mosaicml/llm-foundry/pull/372", inverse=True),
    _rms(
        "rms norm squares in float16", "https://github.com/nntrainer/nntrainer/issues/3935",
        square=half_square, reveals="activations", dtypes=HALF,
    ),
    _rms(
        "rms norm eps outside root", "eps added to the root mean square in place of the mean square", "query norm",
        root=outside_root, dtypes=("",),
    ),
    _rms(
        "rms norm eps 1e-5", "https://github.com/huggingface/candle/pull/271",
        root=partial(other_eps, taken=1e-5), dtypes=("",),
    ),
    _rms(
        "rms norm without eps", "eps lost in conversion: 0 * inf where a row is zero",
        root=without_eps,
    ),
    _rms(
        "rms norm of 512", "one element a thread, a work-group of 512", kept=lambda width: min(width, 512),
        reveals="shapes",
    ),
    _rms(
        "rms norm without tail of 4", "width / 4 vectors, and no loop over what is left",
        kept=lambda width: width // 4 * 4, reveals="shapes",
    ),
    _rms(
        "rms norm divides by padded width of 128", "https://github.com/tenstorrent/tt-metal/pull/42801",
        divided=_padded(128), reveals="shapes",
    ),
)  # fmt: skip

CONTROLS = (
    Control("layer norm two passes", "layer norm", layer_norm_by(), dtypes=ALL),
    Control("layer norm updated", "layer norm", layer_norm_by(updated), dtypes=ALL),
    Control("layer norm merged", "layer norm", layer_norm_by(merged), dtypes=ALL),
    Control("layer norm folded", "layer norm", folded, dtypes=ALL),
    Control("layer norm Newton", "layer norm", layer_norm_by(root=newton_root), dtypes=ALL),
    Control("rms norm Newton", "rms norm", rms_norm_by(root=newton_root), dtypes=ALL),
    Control("rms norm of queries", "query norm", rms_norm_by(), dtypes=ALL),
)
