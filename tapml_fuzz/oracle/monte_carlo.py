"""Monte Carlo arithmetic: the fallback for a primitive without a rule (Parker, Pierce and Eggert 2000).

The operator runs in float64 a few times with every input shifted at random by its own error plus one relative
roundoff. The spread shows how the operator magnifies what comes in; twice the largest deviation, plus a few
roundings of the result, stands for the bound. It is an estimate, not a bound: what deserves one gets a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_map

from tapml_fuzz.oracle.tracked import Arithmetic, Tracked

# Chosen, not derived: runs, by what their largest deviation is multiplied, and the roundings of the result itself.
_RUNS = 4
_SAFETY = 2.0
_UNITS = 4.0


def perturbed(overload: OpOverload, args: Any, kwargs: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
    """Outputs of `overload` with an estimated error; the random signs are the same in every run of the program."""
    generator = torch.Generator().manual_seed(0)

    def run(shift: bool) -> list[Any]:
        def input_of(leaf: Any) -> Any:
            if not isinstance(leaf, Tracked):
                return leaf
            return _shifted(leaf, generator) if shift and leaf.is_floating else leaf.value

        inputs = tree_map(input_of, (args, dict(kwargs)), is_leaf=lambda leaf: isinstance(leaf, Tracked))
        result = overload(*inputs[0], **inputs[1])
        return list(result) if isinstance(result, tuple | list) else [result]

    truth = run(shift=False)
    runs = [run(shift=True) for _ in range(_RUNS)]
    outputs = [
        _estimated(value, [r[i] for r in runs], arithmetic) if isinstance(value, Tensor) else value
        for i, value in enumerate(truth)
    ]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _shifted(x: Tracked, generator: torch.Generator) -> Tensor:
    reach = x.value.abs() * x.arithmetic.roundoff
    if x.error is not None:
        reach = reach + x.error
    signs = torch.randint(0, 2, x.value.shape, generator=generator, dtype=torch.float64) * 2 - 1
    return torch.where(torch.isfinite(x.value), x.value + signs * reach, x.value)


def _estimated(value: Tensor, others: list[Tensor], arithmetic: Arithmetic) -> Tracked:
    if any(o.shape != value.shape for o in others):
        # The very shape depends on rounding: no element can be matched with another.
        return Tracked(value, arithmetic, torch.full(value.shape, torch.inf, dtype=torch.float64), arithmetic.dtype)
    spread = torch.zeros(value.shape, dtype=torch.float64)
    for other in others:
        spread = torch.maximum(spread, (other.to(torch.float64) - value.to(torch.float64)).abs())
    if not value.is_floating_point():
        return Tracked(value, arithmetic, spread if bool(spread.any()) else None)
    return arithmetic.rounded(value, _SAFETY * spread, (), units=_UNITS)
