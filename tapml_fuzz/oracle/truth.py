"""The truth about a case: the operator in float64 on the inputs as stored, with an error bound per element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import NoAnswer
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.operators import invoke
from tapml_fuzz.oracle.apply import Undecided, apply, known
from tapml_fuzz.oracle.constants import K
from tapml_fuzz.oracle.selection import Selection, Unordered
from tapml_fuzz.oracle.trace import trace
from tapml_fuzz.oracle.tracked import Arithmetic, Tracked, arithmetic


@dataclass(frozen=True, slots=True)
class Truth:
    """The result of a correct implementation, per output.

    Attributes:
        values: the exact result: float64 for floating outputs, the outputs' own dtype for integers and booleans.
        bounds: float64, E per element (infinite: unjudged), or None where the output is exact.
        dtypes: names of the dtypes torch gives for these inputs.
        unjudged: elements, over all outputs, about which nothing can be said.
        selections: for outputs that hold indices, what they select from; otherwise None.
        unordered: for outputs that may come in any order along an axis, that axis; otherwise None.
        accuracy, flush: the accuracy table and flush-to-zero setting this truth was computed under.
    """

    values: tuple[Array, ...]
    bounds: tuple[Array | None, ...]
    dtypes: tuple[str, ...]
    selections: tuple[Selection | None, ...]
    unordered: tuple[Unordered | None, ...]
    unjudged: int = 0
    accuracy: str = "ieee"
    flush: bool = False

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs."""
        return tuple(tuple(v.shape) for v in self.values)

    @property
    def several(self) -> tuple[bool, ...]:
        """For which outputs no bound tells what is right: indices, and what may come in any order."""
        return tuple(s is not None or u is not None for s, u in zip(self.selections, self.unordered, strict=True))


def truth(
    operator: Operator,
    tensors: Sequence[Array],
    sizes: Mapping[str, int],
    *,
    accuracy: str = "ieee",
    flush: bool = False,
) -> Truth:
    """Values and error bounds of `operator` on `tensors` (numpy, one per slot).

    `accuracy` names the table of built-in functions (`oracle.accuracy.TABLES`); with `flush` subnormal operands
    and results may be zero. Raises `NoTruth` for an operator without one (random, uninitialised), `UnknownOperator`,
    and what torch raises for arguments it rejects.
    """
    names = tuple(dtypes.name_of(t) for t in tensors)
    floats = [n for n in names if dtypes.is_float(n)]
    working = "float64" if floats and all(n == "float64" for n in floats) else "float32"
    half = bool(floats) and all(n == "float16" for n in floats)
    context = arithmetic(working, accuracy, flush, half)
    stored = [invoke.to_torch(t) for t in tensors]
    outputs = _run(operator, stored, sizes, context)
    expected = _output_dtypes(operator, stored, sizes, names, outputs)
    outputs = [_stored(o, name) for o, name in zip(outputs, expected, strict=True)]
    bounds = tuple(_bound(o, name) for o, name in zip(outputs, expected, strict=True))
    return Truth(
        values=tuple(_value(o, name) for o, name in zip(outputs, expected, strict=True)),
        bounds=bounds,
        unjudged=sum(_unjudged(bound) for bound in bounds),
        dtypes=expected,
        selections=tuple(o.selection for o in outputs),
        unordered=tuple(o.unordered for o in outputs),
        accuracy=accuracy,
        flush=flush,
    )


def _run(operator: Operator, tensors: Sequence[Tensor], sizes: Mapping[str, int], context: Arithmetic) -> list[Tracked]:
    if any(t.numel() == 0 for t in tensors):
        _refuse_without_channels(operator, tensors)
        nothing = _of_nothing(operator, tensors, sizes, context)
        if all(t.numel() == 0 for t in tensors if t.is_floating_point()) or not any(o.value.numel() for o in nothing):
            return nothing
        try:
            return _followed(operator, tensors, sizes, context)
        except (ArithmeticError, RuntimeError, IndexError, ValueError) as error:
            raise NoAnswer(f"{operator.name} on empty tensors: {error}", hint="give it elements") from None
    return _followed(operator, tensors, sizes, context)


def _followed(
    operator: Operator, tensors: Sequence[Tensor], sizes: Mapping[str, int], context: Arithmetic
) -> list[Tracked]:
    """The operator's rule, or its program step by step."""
    floating = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    args, kwargs = operator.bind(
        [known(t, context) for t in tensors],
        sizes,
        dtype_of=lambda name: floating if name == "input" else invoke.torch_dtype(name),
    )
    function = invoke.resolve(operator.name)
    if isinstance(function, OpOverload):
        try:
            return operator.used(_flat(apply(function, tuple(args), kwargs, context)))
        except Undecided:
            pass
    return operator.used(trace(function, args, kwargs, context))


def _of_nothing(
    operator: Operator, tensors: Sequence[Tensor], sizes: Mapping[str, int], context: Arithmetic
) -> list[Tracked]:
    """An operator on empty tensors alone computes nothing that could round: torch's float64 answer is exact."""
    wide = [t.double() if t.is_floating_point() else t for t in tensors]
    return [known(result, context) for result in invoke.call(operator, wide, sizes)]


def _refuse_without_channels(operator: Operator, tensors: Sequence[Tensor]) -> None:
    """Of a convolution over no channels torch returns nothing, where the bias alone would be right."""
    if operator.short_name.startswith("conv") and len(tensors) > 1 and tensors[0].ndim > 2 and tensors[0].shape[1] == 0:
        raise NoAnswer(f"{operator.name} over no channels", hint="give at least one")


def _flat(result: Any) -> list[Tracked]:
    if isinstance(result, Tracked):
        return [result]
    if isinstance(result, tuple | list):
        return [t for item in result for t in _flat(item)]
    return []


_dtypes_seen: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}


def _output_dtypes(
    operator: Operator,
    tensors: Sequence[Tensor],
    sizes: Mapping[str, int],
    names: tuple[str, ...],
    outputs: Sequence[Tracked],
) -> tuple[str, ...]:
    """The dtypes that torch itself returns for these; where its CPU has no kernel, the dtype of the traced program."""
    key = (operator.key, names)
    found = _dtypes_seen.get(key)
    if found is None:
        try:
            results = invoke.call(operator, tensors, sizes)
            found = tuple(str(r.dtype).removeprefix("torch.") for r in results)
        except (NotImplementedError, RuntimeError):
            kinds = (o.storage_dtype if o.is_floating else o.value.dtype for o in outputs)
            found = tuple(str(k).removeprefix("torch.") for k in kinds)
        _dtypes_seen[key] = found
    return found


def _value(x: Tracked, dtype: str) -> Array:
    """Integers that a rule had to compute as floats (a sum of booleans, say) take their real dtype."""
    if dtypes.is_float(dtype):
        return (x.value if x.is_floating else x.value.to(torch.float64)).numpy()
    wanted = invoke.torch_dtype(dtype)
    return (x.value if x.value.dtype == wanted else x.value.to(wanted)).numpy()


def _stored(x: Tracked, dtype: str) -> Tracked:
    """The output in its dtype: an exact value that the dtype cannot hold is rounded, even when nothing before was."""
    if not dtypes.is_float(dtype) or not x.is_floating or x.error is not None:
        return x
    return x.converted_to(invoke.torch_dtype(dtype))


def _bound(x: Tracked, dtype: str) -> Array | None:
    """E = u_out (|y| + K B) + K B + one smallest subnormal; None for exact results."""
    if not dtypes.is_float(dtype):
        return None if x.error is None else x.error.expand(x.value.shape).numpy()
    if x.error is None:
        return None
    bound = x.value.abs().mul_(dtypes.unit_roundoff(dtype))
    bound.add_(dtypes.smallest_subnormal(dtype))
    # Double work in float64: the truth itself has the errors that it bounds.
    factor = K if x.arithmetic.dtype != torch.float64 else 2 * K
    bound.add_(x.error, alpha=factor * (1 + dtypes.unit_roundoff(dtype)))
    if x.arithmetic.flush:  # a result that may be subnormal may be zero
        normal = dtypes.smallest_normal(dtype)
        bound = torch.where(x.value.abs() - bound < normal, bound + normal, bound)
    if not bool(torch.isfinite(bound.sum())):
        exact = ~torch.isfinite(x.value) & torch.isfinite(x.error)
        bound = torch.where(exact, 0.0, torch.where(torch.isnan(bound), torch.inf, bound))
    return bound.expand(x.value.shape).numpy()


def _unjudged(bound: Array | None) -> int:
    if bound is None or np.isfinite(bound.sum()):
        return 0
    return int(np.isinf(bound).sum())
