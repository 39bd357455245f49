"""Mixture of experts: which experts a token goes to, with which gates, and the sum of what they gave.

Experts are ordered by their logits, which are inputs: rounding decides nothing. Of equal logits the lower expert comes
first, as ONNX and JAX define top-k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.detection.activations import BATCHES, recorded, weight
from benchmarks.detection.model import Control, Fault, Subject

HALVES = ("", "float16", "bfloat16")
_CHOSEN = 2


def mixture(logits: Tensor, outputs: Tensor) -> Tensor:
    """The two best experts' outputs [e, t, d], weighted by softmax over their logits [t, e] alone (Mixtral)."""
    best = torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, :_CHOSEN]
    gates = torch.softmax(logits.gather(1, best), -1)
    chosen = outputs.gather(0, best.T[..., None].expand(-1, -1, outputs.shape[-1]))
    return (gates.T[..., None] * chosen).sum(0)


def unnormalised_gates(logits: Tensor) -> Tensor:
    """The two largest of the probabilities over all experts, which do not add up to one (OLMoE)."""
    best = torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, :_CHOSEN]
    return torch.softmax(logits, -1).gather(1, best)


def _logits(batch: int) -> Tensor:
    return recorded("normed", batch, 5).flatten(0, 1) @ weight("router") / 8


def _mixtures() -> list[tuple[Tensor, Tensor]]:
    """Eight experts of 24 to 8 columns, made of hidden states."""
    return [
        (
            _logits(batch),
            recorded("inner", batch, 5).flatten(0, 1)[:, : 8 * width].reshape(-1, 8, width).transpose(0, 1),
        )
        for batch, width in zip(BATCHES, (24, 24, 8), strict=True)
    ]


SUBJECTS = (
    Subject("mixture", "routing", mixture, _mixtures, axes=(("t", "e"), ("e", "t", "d"))),
    Subject("gates", "routing", unnormalised_gates, lambda: [(_logits(b),) for b in BATCHES], axes=(("t", "e"),)),
)


def best_two(logits: Tensor) -> Tensor:
    return torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, :_CHOSEN]


def combined(best: Tensor, gates: Tensor, outputs: Tensor) -> Tensor:
    """The sum over each token's experts, in float32."""
    total = torch.zeros(outputs.shape[1:])
    for rank in range(best.shape[1]):
        total = total + gates[:, rank, None] * outputs[best[:, rank], torch.arange(len(best))].float()
    return total.to(outputs.dtype)


def routed(logits: Tensor, outputs: Tensor, *, renormalised: bool = True, expert_bits: int = 64) -> Tensor:
    """Softmax over the chosen, or not `renormalised` over all; experts' numbers held in `expert_bits`."""
    best = best_two(logits)
    logits = logits.float()
    gates = torch.softmax(logits.gather(1, best), -1) if renormalised else torch.softmax(logits, -1).gather(1, best)
    return combined(best & 0xFF if expert_bits == 8 else best, gates, outputs)


def by_value(logits: Tensor, outputs: Tensor, *, marks: bool = True) -> Tensor:
    """The best, then the best of the others: the first is `marks`ed as taken, or found again by its value."""
    if logits.shape[1] < _CHOSEN:
        return routed(logits, outputs)
    best = best_two(logits)
    if not marks:
        values = logits.gather(1, best)
        best = (logits[:, None, :] == values[..., None]).to(torch.uint8).argmax(-1)
    return combined(best, torch.softmax(logits.float().gather(1, best), -1), outputs)


def below_maximum(logits: Tensor, outputs: Tensor, *, by_index: bool = True) -> Tensor:
    """The second is the best that is not the first expert, or mistakenly the best below the first one's logit."""
    if logits.shape[1] < _CHOSEN:
        return routed(logits, outputs)
    best = best_two(logits)
    if not by_index:
        top = logits.gather(1, best[:, :1])
        rest = torch.where(logits >= top, -torch.inf, logits)
        best = torch.cat([best[:, :1], torch.sort(rest, dim=-1, descending=True, stable=True).indices[:, :1]], 1)
    return combined(best, torch.softmax(logits.float().gather(1, best), -1), outputs)


def padded(logits: Tensor, outputs: Tensor, *, filler: float = -torch.inf) -> Tensor:
    """Experts padded to a multiple of eight by logits of `filler`; what is chosen there gives nothing."""
    missing = -logits.shape[1] % 8
    wide = torch.nn.functional.pad(logits, (0, missing), value=filler)
    count = min(_CHOSEN, logits.shape[1])
    best = best_two(wide)[:, :count]
    gates = torch.softmax(wide.float().gather(1, best), -1)
    silent = outputs.new_zeros(missing, *outputs.shape[1:])
    return combined(best, gates, torch.cat([outputs, silent]))


def with_capacity(logits: Tensor, outputs: Tensor, *, factor: float | None = None) -> Tensor:
    """Each expert takes at most `factor` times its fair share of tokens, and 16 at least; later ones are dropped."""
    best = best_two(logits)
    gates = torch.softmax(logits.float().gather(1, best), -1)
    if factor is not None and best.numel():
        capacity = max(16, int(factor * best.numel() / logits.shape[1]))
        taken = torch.nn.functional.one_hot(best.flatten(), logits.shape[1]).cumsum(0)
        place = taken.gather(1, best.flatten()[:, None]).reshape(best.shape)
        gates = gates.masked_fill(place > capacity, 0.0)
    return combined(best, gates, outputs)


def in_blocks(logits: Tensor, outputs: Tensor, *, offset: bool = True) -> Tensor:
    """Blocks of 256 tokens; without the block's `offset` later blocks read the first block's choices."""
    best = best_two(logits)
    gates = torch.softmax(logits.float().gather(1, best), -1)
    if not offset:
        place = torch.arange(len(best)) % 256
        best, gates = best[place], gates[place]
    return combined(best, gates, outputs)


def gates(logits: Tensor, *, chosen_only: bool = False) -> Tensor:
    best, wide = best_two(logits), logits.float()
    if chosen_only:
        return torch.softmax(wide.gather(1, best), -1).to(logits.dtype)
    return torch.softmax(wide, -1).gather(1, best).to(logits.dtype)


def gates_without_maximum(logits: Tensor) -> Tensor:
    powers = torch.exp(logits.float())
    return (powers / powers.sum(-1, keepdim=True)).gather(1, best_two(logits)).to(logits.dtype)


FAULTS = (
    Fault(
        "mixture without renormalised gates", "mixture", lambda *a: routed(*a, renormalised=False), routed,
        origin="https://github.com/pytorch/torchtitan/issues/1448", dtypes=HALVES,
    ),
    Fault(
        "mixture expert number in a byte", "mixture", lambda *a: routed(*a, expert_bits=8), routed,
        origin="experts' numbers are packed into eight bits", reveals="shapes",
    ),
    Fault(
        "mixture takes an expert twice", "mixture", lambda *a: by_value(*a, marks=False), by_value,
        origin="top-k finds the index of each value anew: equal logits give one expert twice", reveals="structure",
        dtypes=HALVES,
    ),
    Fault(
        "mixture passes over a tie", "mixture", lambda *a: below_maximum(*a, by_index=False), below_maximum,
        origin="everything that equals the best is masked before the second is sought", reveals="structure",
        dtypes=HALVES,
    ),
    Fault(
        "mixture chooses padding", "mixture", lambda *a: padded(*a, filler=0.0), padded,
        origin="experts are padded to the vector width with zeros", reveals="shapes", dtypes=HALVES,
    ),
    Fault(
        "mixture drops tokens over capacity", "mixture", lambda *a: with_capacity(*a, factor=2.0), with_capacity,
        origin="https://github.com/vllm-project/vllm-ascend/issues/14926", reveals="activations",
    ),
    Fault(
        "mixture beyond 256 tokens", "mixture", lambda *a: in_blocks(*a, offset=False), in_blocks,
        origin="https://github.com/trymirai/uzu/pull/715", reveals="shapes",
    ),
    Fault(
        "gates of the chosen alone", "gates", lambda x: gates(x, chosen_only=True), gates,
        origin="https://github.com/lablup/mlxcel/pull/391", dtypes=HALVES,
    ),
    Fault(
        "gates without maximum", "gates", gates_without_maximum, gates,
        origin="router logits are taken to be small: exp overflows", reveals="activations",
    ),
)  # fmt: skip


def one_hot_mixture(logits: Tensor, outputs: Tensor) -> Tensor:
    """Gates scattered over all experts and contracted with every output, as compilers without gather do it.

    Experts that were not chosen must not be multiplied by zero: an infinity of theirs would spread.
    """
    best = best_two(logits)
    chosen = torch.softmax(logits.float().gather(1, best), -1)
    spread = torch.zeros(logits.shape).scatter(1, best, chosen)
    taken = torch.zeros(logits.shape, dtype=torch.bool).scatter(1, best, True)
    products = torch.where(taken.T[..., None], spread.T[..., None] * outputs.float(), 0.0)
    return products.sum(0).to(outputs.dtype)


CONTROLS = (Control("mixture over all experts", "mixture", one_hot_mixture, dtypes=HALVES),)
