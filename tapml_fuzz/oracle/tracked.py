"""A float64 value together with a bound on the error a correct implementation may have made so far.

`Arithmetic` says how the platform computes (its working precision and the accuracy of its functions);
`Tracked` is a value and its error under that arithmetic. Every primitive ends in `Arithmetic.rounded`, which adds
its own rounding and handles what is not finite.

Three states of an error: `None` is exactly zero (and costs nothing), a finite number is a bound, and infinity (or
NaN) means *unjudged*: a correct implementation may have lost the value altogether, for instance when an
intermediate overflows the working precision.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tapml_fuzz.core import dtypes
from tapml_fuzz.oracle.accuracy import HALF_TABLES, TABLES, Accuracy
from tapml_fuzz.oracle.selection import Selection, Unordered


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The arithmetic with which a platform computes inside one operator.

    Attributes:
        dtype: working precision: float32 for float16, bfloat16 and float32 tensors, else float64.
        roundoff: its unit roundoff u.
        underflow: absolute error of a result in the subnormal range: one smallest subnormal, or one smallest
            normal where the platform flushes to zero.
        largest: its largest finite value.
        accuracy: accuracy of the built-in functions.
        flush: whether subnormal operands and results may be replaced by zero.
    """

    dtype: torch.dtype
    roundoff: float
    underflow: float
    largest: float
    accuracy: Accuracy
    flush: bool

    def constant(self, number: float, storage_dtype: torch.dtype | None = None) -> Tracked:
        """A scalar of the program: its error is that of storing it in `storage_dtype` (default: working precision)."""
        stored = dtypes.numpy_dtype(str(storage_dtype or self.dtype).removeprefix("torch."))
        with np.errstate(over="ignore"):
            shift = abs(float(np.asarray(number, dtype=stored)) - number) if number - number == 0 else 0.0
        error = torch.tensor(shift, dtype=torch.float64) if shift else None
        value = torch.tensor(float(number), dtype=torch.float64)
        return Tracked(value, self, error, storage_dtype=storage_dtype or self.dtype, nonnegative=number >= 0)

    def rounded(
        self,
        value: Tensor,
        inherited: Tensor | None,
        operands: tuple[Tracked, ...],
        *,
        units: float = 1.0,
        own: Tensor | None = None,
        underflows: bool = True,
        saturates: bool = False,
        nonnegative: bool = False,
        magnitude: Tensor | None = None,
        unbounded: Tensor | None = None,
    ) -> Tracked:
        """The result of one primitive: its inherited error, plus its own rounding of `units * u * |value|`.

        `own` replaces that product where it has another form (a fresh tensor of `value`'s shape; it is
        overwritten). `saturates` marks functions that give the same result for an overflowed operand (exp, tanh).
        `magnitude` is the largest intermediate of a reduction, when it is not `value` itself; `unbounded` marks
        elements whose operand may lie on a pole, so that nothing can be said.
        """
        if own is None:
            own = value.mul(units * self.roundoff) if nonnegative else value.abs().mul_(units * self.roundoff)
        if underflows and not self.flush:
            own.add_(self.underflow)
        error = own if inherited is None else own.add_(inherited)
        if self.flush:
            error = error + self._flushed(value, error)
        # `own` is at least u * |value| / 2 for the rules here, so its peak tells whether everything is finite.
        largest = _peak(value if magnitude is None else magnitude, nonnegative or magnitude is not None)
        overflows = False
        if not largest <= 0.99 * self.largest or any(o.overflows for o in operands):
            error, overflows = self._guarded(value, error, operands, saturates, magnitude)
        if unbounded is not None:
            error = torch.where(unbounded, torch.inf, error)
        return Tracked(value, self, error, overflows=overflows, nonnegative=nonnegative, storage_dtype=self.dtype)

    def _flushed(self, value: Tensor, error: Tensor) -> Tensor:
        """One smallest normal where the result is not exactly zero and may be subnormal."""
        magnitude = value.abs()
        subnormal = (magnitude - error < self.underflow) & ((magnitude > 0) | (error > 0))
        return torch.where(subnormal, self.underflow, 0.0)

    def _guarded(
        self,
        value: Tensor,
        error: Tensor,
        operands: tuple[Tracked, ...],
        saturates: bool,
        magnitude: Tensor | None,
    ) -> tuple[Tensor, bool]:
        """Errors where something is infinite, NaN or beyond the working precision."""
        finite = torch.isfinite(value)
        error = torch.where(torch.isnan(error), torch.inf, error)
        # An infinity or NaN that follows from the inputs is exact, unless an operand was already unjudged.
        exact = ~finite
        for operand in operands:
            if operand.error is not None and exact.any():
                exact &= ~_spread(~torch.isfinite(operand.error), exact)
        error = torch.where(exact, 0.0, error)
        over = finite & (value.abs() + error > self.largest)
        if not saturates:
            for operand in operands:
                if operand.overflows:
                    lost = _spread(operand.beyond(), finite)
                    error = torch.where(lost & finite & ~over, torch.inf, error)
        if magnitude is not None:
            # A partial sum may overflow in either direction although the sum itself does not.
            inner = (magnitude - value.abs() > self.largest) | ((magnitude > self.largest) & ~over)
            error = torch.where(inner & finite, torch.inf, error)
        return error, bool(over.any())


@cache
def arithmetic(working: str, accuracy: str, flush: bool, half: bool = False) -> Arithmetic:
    """The arithmetic of a working dtype (`"float32"` or `"float64"`) under a named accuracy table.

    `half`: all floating tensors are float16, so the builtins are too (a shader's exp of a float16 is a float16 exp),
    although sums are expected in float32.
    """
    table = TABLES[accuracy]
    if half and accuracy in HALF_TABLES:
        ratio = dtypes.unit_roundoff("float16") / dtypes.unit_roundoff(working)
        table = HALF_TABLES[accuracy].in_wider_units(ratio)
    return Arithmetic(
        dtype=getattr(torch, working),
        roundoff=dtypes.unit_roundoff(working),
        underflow=dtypes.smallest_normal(working) if flush else dtypes.smallest_subnormal(working),
        largest=dtypes.largest(working),
        accuracy=table,
        flush=flush,
    )


@dataclass(frozen=True, slots=True)
class Tracked:
    """A tensor of the program with its error bound.

    Attributes:
        value: float64 for floating tensors; integers and booleans keep their own dtype.
        error: float64, of `value`'s shape or one that broadcasts to it; see the module for None and infinity.
            For integers and booleans, how far another right answer may lie (1: either truth value).
        storage_dtype: the floating dtype whose numbers the value is rounded to; the value's own for the rest.
        overflows: some finite element may exceed the working precision.
        nonnegative: known to have no negative element, whatever the rounding.
        selection, unordered: of outputs of an operator, see there.
    """

    value: Tensor
    arithmetic: Arithmetic = field(repr=False)
    error: Tensor | None = None
    storage_dtype: torch.dtype = torch.float64
    overflows: bool = False
    nonnegative: bool = False
    selection: Selection | None = None
    unordered: Unordered | None = None

    @property
    def is_floating(self) -> bool:
        """Tell whether the value is floating, rather than integer or boolean."""
        return self.value.is_floating_point()

    def beyond(self) -> Tensor:
        """A mask of where a finite value may exceed the working precision."""
        magnitude = self.value.abs()
        reach = magnitude if self.error is None else magnitude + self.error
        return (reach > self.arithmetic.largest) & torch.isfinite(magnitude)

    def with_error(self, error: Tensor | None) -> Tracked:
        """The same value with another error."""
        return replace(self, error=error)

    def converted_to(self, storage_dtype: torch.dtype) -> Tracked:
        """The program converts to a narrower dtype: an exact value has one right result (round to nearest even).

        Beyond the range that is infinity. Platforms that may round either way, or flush, have the error of
        `rounded_to`, and so has a value that is inexact already.
        """
        a = self.arithmetic
        if self.error is not None or not a.accuracy.nearest or a.flush or self.storage_dtype == torch.float64:
            return self.rounded_to(storage_dtype)
        return replace(self, value=self.value.to(storage_dtype).to(torch.float64), storage_dtype=storage_dtype)

    def rounded_to(self, storage_dtype: torch.dtype) -> Tracked:
        """The value stored in a narrower floating dtype: one more rounding, and that dtype's overflow."""
        if storage_dtype == self.storage_dtype or not self.is_floating:
            return self
        name, held = str(storage_dtype).removeprefix("torch."), str(self.storage_dtype).removeprefix("torch.")
        if _holds(name, held):
            return replace(self, storage_dtype=storage_dtype)
        own = self.value.abs().mul_(dtypes.unit_roundoff(name)).add_(dtypes.smallest_subnormal(name))
        error = own if self.error is None else own.add_(self.error, alpha=1 + dtypes.unit_roundoff(name))
        finite = torch.isfinite(self.value)
        error = torch.where(finite, error, 0.0 if self.error is None else self.error)
        # Beyond the largest number the program goes on with infinity, which no later step can bring back.
        error = torch.where(finite & (self.value.abs() > dtypes.largest(name)), torch.inf, error)
        return replace(self, error=error, storage_dtype=storage_dtype)


def correctly_rounded(result: Tracked, *operands: Tracked) -> Tracked:
    """The result of one IEEE operation: where exact operands give a number that needs no rounding, it is exact."""
    a = result.arithmetic
    # In float64 the truth itself is rounded, so nothing tells what is exact.
    if result.error is None or a.flush or a.dtype == torch.float64 or any(o.error is not None for o in operands):
        return result
    exact = result.value.to(a.dtype).to(torch.float64) == result.value
    if not bool(exact.any()):
        return result
    return result.with_error(None if bool(exact.all()) else torch.where(exact, 0.0, result.error))


@cache
def _holds(wide: str, narrow: str) -> bool:
    """Tell whether every number of `narrow` is one of `wide`."""
    return (
        dtypes.unit_roundoff(wide) <= dtypes.unit_roundoff(narrow)
        and dtypes.largest(wide) >= dtypes.largest(narrow)
        and dtypes.smallest_subnormal(wide) <= dtypes.smallest_subnormal(narrow)
    )


def _peak(value: Tensor, nonnegative: bool) -> float:
    """Largest magnitude, NaN if any element is."""
    if value.numel() == 0:
        return 0.0
    if nonnegative:
        return float(value.amax())
    low, high = torch.aminmax(value)
    return max(-float(low), float(high)) if float(low) == float(low) else float("nan")


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    """A mask over an operand's shape as one over the result's: broadcast, or `any` over the reduced axes."""
    if mask.ndim == like.ndim:
        reduced = [d for d in range(like.ndim) if like.shape[d] == 1 and mask.shape[d] != 1]
        if reduced:
            mask = mask.any(dim=reduced, keepdim=True)
    return torch.broadcast_to(mask, like.shape)


def errors_of(*operands: Tracked) -> Tensor | None:
    """The plain sum of the operands' errors."""
    total: Tensor | None = None
    for operand in operands:
        if operand.error is not None:
            total = operand.error if total is None else total + operand.error
    return total
