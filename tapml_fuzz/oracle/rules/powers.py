"""Powers."""

from __future__ import annotations

from tapml_fuzz.oracle import elementwise as e
from tapml_fuzz.oracle import powers
from tapml_fuzz.oracle.elementwise import Operand
from tapml_fuzz.oracle.registry import rule
from tapml_fuzz.oracle.rules.elementwise import operands
from tapml_fuzz.oracle.tracked import Tracked


@rule("aten.pow")
def power(x: Operand, exponent: Operand) -> Tracked:
    """The scalar exponents that have a product or root of their own are exact; a cube keeps its square."""
    if isinstance(exponent, Tracked) or not isinstance(x, Tracked):
        return powers.power(*operands(x, exponent))
    if exponent == 3:
        return powers.or_called(e.mul(e.store_intermediate(e.square(x), x), x), x, 3.0)
    simple = powers.simple_power(x, float(exponent))
    return powers.power(x, e.scalar(exponent, x)) if simple is None else simple
