"""Accuracy of built-in functions: what a platform's specification promises, as parameters of the propagation.

One ULP is taken as its largest relative size, 2u (the spacing just above a power of two), so an entry never
promises more than the specification does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Builtin(NamedTuple):
    """Largest error of one function at an exact argument x: `(ulp + ulp_per_argument * |x|)` ULP `+ absolute`.

    `reduction` is for the sine and cosine of specifications that promise this for [-pi, pi] only: beyond, the argument
    may be off by so many unit roundoffs of itself.
    """

    ulp: float = 0.5
    ulp_per_argument: float = 0.0
    absolute: float = 0.0
    reduction: float = 0.0


class Accuracy(NamedTuple):
    """An accuracy table. A function that is not listed is as in the `ieee` table.

    `divisors` is the range of |y| in which division keeps its accuracy; outside it any quotient is allowed. `nearest`
    says that conversions round to nearest, ties to even; otherwise either neighbour is right.
    """

    source: str
    builtins: Mapping[str, Builtin]
    divisors: tuple[float, float] = (0.0, math.inf)
    nearest: bool = True

    def of(self, name: str) -> Builtin:
        """The largest error of a function in this table, else in the `ieee` table."""
        return self.builtins.get(name) or IEEE.builtins[name]

    def promised(self, name: str) -> Builtin | None:
        """The accuracy that a specification promises for a function; None where it promises none, as `ieee` does."""
        return None if self is IEEE else self.builtins.get(name)

    def in_wider_units(self, ratio: float) -> Accuracy:
        """The same table where it counts in ULP that are `ratio` times as large as those of the working precision."""
        scaled = {
            name: b._replace(
                ulp=b.ulp * ratio, ulp_per_argument=b.ulp_per_argument * ratio, reduction=b.reduction * ratio
            )
            for name, b in self.builtins.items()
        }
        return self._replace(builtins=scaled)


# What a careful implementation gives: IEEE 754 for add, mul, div, sqrt, and the documented maximum errors of CUDA's
# single-precision functions (CUDA C++ Programming Guide, "Mathematical Functions", without fast-math), never below
# 2 ULP. exp also allows the common reduction to exp2(x * log2(e)): the rounded product and the rounded constant
# each shift the argument by at most u*|x|, together 0.625 ULP per unit of |x| with the constant's own 0.22 u.
# gelu has an erf of its own: only 1 + erf matters there, and the reference platform's CPU kernels use a fast
# polynomial for it whose error is absolute (measured on 1 + erf, in units of 2^-24: 11.8 by oneDNN on packed tensors,
# 8.6 by torch's vectorised kernel on strided ones).
IEEE = Accuracy(
    "IEEE 754-2019 and the CUDA C++ Programming Guide, Mathematical Functions, single precision",
    {
        "div": Builtin(0.5),
        "reciprocal": Builtin(0.5),
        "sqrt": Builtin(0.5),
        "rsqrt": Builtin(2),
        "exp": Builtin(2, 0.625),
        "exp2": Builtin(2),
        "expm1": Builtin(2),
        "log": Builtin(2),
        "log2": Builtin(2),
        "log10": Builtin(2),
        "log1p": Builtin(2),
        "erf": Builtin(2),
        "erf_of_gelu": Builtin(2, 0, 12 * 2.0**-24),
        "erfc": Builtin(4),
        "tanh": Builtin(2),
        "sin": Builtin(2),
        "cos": Builtin(2),
        "tan": Builtin(4),
        "asin": Builtin(4),
        "acos": Builtin(4),
        "atan": Builtin(2),
        "atan2": Builtin(3),
        "sinh": Builtin(3),
        "cosh": Builtin(2),
        "asinh": Builtin(4),
        "acosh": Builtin(4),
        "atanh": Builtin(3),
        "pow": Builtin(8),
    },
)

# The guides' bounds of sine and cosine are for [-pi, pi] ("larger otherwise"). Beyond, a GPU's argument reduction loses
# in proportion to the argument: on an H100 up to 2.675 u|x| more than the bound, within which both are inside
# (benchmarks/accuracy/sines.cu).
_TURNS = 2.7

# tanh is tanh.approx.f32, of relative error 2^-11. tan is the quotient of sin and cos, pow inherits from
# exp2(y * log2(x)); see `powers.power`. Division and square root are those of -prec-div=false, -prec-sqrt=false.
CUDA_FAST = Accuracy(
    "CUDA C++ Programming Guide, Mathematical Functions, intrinsic functions, as --use_fast_math substitutes them",
    {
        "div": Builtin(2),
        "reciprocal": Builtin(1),
        "sqrt": Builtin(1),
        "rsqrt": Builtin(2),
        "exp": Builtin(2, 1.173),
        "exp2": Builtin(2),
        "log": Builtin(3, 0, 2.0**-21.41),
        "log2": Builtin(2, 0, 2.0**-22),
        "log10": Builtin(3, 0, 2.0**-24),
        "tanh": Builtin(2.0**12),
        "sin": Builtin(0.5, 0, 2.0**-21.41, _TURNS),
        "cos": Builtin(0.5, 0, 2.0**-21.19, _TURNS),
        "tan": Builtin(3, 0, 2.0**-20),
        "pow": Builtin(2, 2, 2.0**-22),
    },
    divisors=(2.0**-126, 2.0**126),
)

TRITON = Accuracy(
    "PTX ISA, div.full.f32, which is Triton's division",
    {"div": Builtin(2), "reciprocal": Builtin(2)},
)

OPENCL = Accuracy(
    "OpenCL SPIR-V Environment Specification, Relative Error as ULPs, full profile, float32 column",
    {
        "div": Builtin(2.5),
        "reciprocal": Builtin(2.5),
        "sqrt": Builtin(3),
        "rsqrt": Builtin(2),
        "exp": Builtin(3, 0.625),
        "exp2": Builtin(3),
        "expm1": Builtin(3),
        "log": Builtin(3),
        "log2": Builtin(3),
        "log10": Builtin(3),
        "log1p": Builtin(2),
        "erf": Builtin(16),
        "erf_of_gelu": Builtin(16),
        "erfc": Builtin(16),
        "tanh": Builtin(5),
        "sin": Builtin(4),
        "cos": Builtin(4),
        "tan": Builtin(5),
        "asin": Builtin(4),
        "acos": Builtin(4),
        "atan": Builtin(5),
        "atan2": Builtin(6),
        "sinh": Builtin(4),
        "cosh": Builtin(4),
        "asinh": Builtin(4),
        "acosh": Builtin(4),
        "atanh": Builtin(5),
        "pow": Builtin(16),
    },
)

OPENCL_HALF = Accuracy(
    "OpenCL SPIR-V Environment Specification, Relative Error as ULPs, full profile, float16 column",
    {
        "div": Builtin(0.5),
        "reciprocal": Builtin(0.5),
        "sqrt": Builtin(0.5),
        "rsqrt": Builtin(1),
        "exp": Builtin(2),
        "exp2": Builtin(2),
        "expm1": Builtin(2),
        "log": Builtin(2),
        "log2": Builtin(2),
        "log10": Builtin(2),
        "log1p": Builtin(2),
        "erf": Builtin(4),
        "erf_of_gelu": Builtin(4),
        "erfc": Builtin(4),
        "tanh": Builtin(2),
        "sin": Builtin(2),
        "cos": Builtin(2),
        "tan": Builtin(2),
        "asin": Builtin(2),
        "acos": Builtin(2),
        "atan": Builtin(2),
        "atan2": Builtin(2),
        "sinh": Builtin(2),
        "cosh": Builtin(2),
        "asinh": Builtin(2),
        "acosh": Builtin(2),
        "atanh": Builtin(2),
        "pow": Builtin(4),
    },
)

# log has 2^-21 absolute inside [0.5, 2] and 3 ULP outside: the sum covers both. sqrt is inherited from
# 1/inverseSqrt(x): 2 ULP and one division. tanh is the worse of 1e-5 and its definition by sinh and cosh.
# pow is inherited from exp2(y * log2(x)); see `powers.power`. WGSL has no log10, log1p, erf or expm1: the first
# two are read as its log, the others are as in the `ieee` table.
WGSL = Accuracy(
    "WGSL, Accuracy of Concrete Floating Point Expressions, f32",
    {
        "div": Builtin(2.5),
        "reciprocal": Builtin(2.5),
        "sqrt": Builtin(4.5),
        "rsqrt": Builtin(2),
        "exp": Builtin(3, 2),
        "exp2": Builtin(3, 2),
        "log": Builtin(3, 0, 2.0**-21),
        "log2": Builtin(3, 0, 2.0**-21),
        "log10": Builtin(3.5, 0, 2.0**-21),
        "log1p": Builtin(3, 0, 2.0**-21),
        "tanh": Builtin(0.5, 0, 1e-5),
        "sin": Builtin(0.5, 0, 2.0**-11, _TURNS),
        "cos": Builtin(0.5, 0, 2.0**-11, _TURNS),
        "tan": Builtin(0.5, 0, 2.0**-10),
        "atan": Builtin(4096),
        "atan2": Builtin(4096),
        "asin": Builtin(4096, 0, 6.81e-5),
        "acos": Builtin(4096, 0, 6.81e-5),
        "pow": Builtin(3, 4.5, 2.0**-21),
    },
    divisors=(2.0**-126, 2.0**126),
    nearest=False,
)

# tanh is the worse of 1e-5 and sinh(x) / cosh(x), whose exponentials have 1 + 2|x| ULP each and which cancel near
# zero: 2 (1 + 2|x|) ULP, the quotient's 2.5, two roundings, and one ULP of exp(0) = 1 absolute.
WGSL_HALF = Accuracy(
    "WGSL, Accuracy of Concrete Floating Point Expressions, f16",
    {
        "div": Builtin(2.5),
        "reciprocal": Builtin(2.5),
        "sqrt": Builtin(4.5),
        "rsqrt": Builtin(2),
        "exp": Builtin(1, 2),
        "exp2": Builtin(1, 2),
        "log": Builtin(3, 0, 2.0**-7),
        "log2": Builtin(3, 0, 2.0**-7),
        "log10": Builtin(3.5, 0, 2.0**-7),
        "log1p": Builtin(3, 0, 2.0**-7),
        "tanh": Builtin(5.5, 4, 2.0**-10),
        "sin": Builtin(0.5, 0, 2.0**-7, _TURNS),
        "cos": Builtin(0.5, 0, 2.0**-7, _TURNS),
        "tan": Builtin(0.5, 0, 2.0**-6),
        "atan": Builtin(5),
        "atan2": Builtin(5),
        "asin": Builtin(5, 0, 3.91e-3),
        "acos": Builtin(5, 0, 3.91e-3),
        "pow": Builtin(1, 4.5, 2.0**-7),
    },
    divisors=(2.0**-14, 2.0**14),
    nearest=False,
)

TABLES: Mapping[str, Accuracy] = {
    "ieee": IEEE, "cuda-fast": CUDA_FAST, "triton": TRITON, "opencl": OPENCL, "wgsl": WGSL,
}  # fmt: skip
# What counts where every floating tensor is float16: in float16's own ULP.
HALF_TABLES: Mapping[str, Accuracy] = {"opencl": OPENCL_HALF, "wgsl": WGSL_HALF}
