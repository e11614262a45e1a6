"""The weights of an online softmax: exponents, and e**x or 2**x on vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.attention.plan import Plan
from sam_tvm.kernels.attention.powers import power_of_two
from sam_tvm.kernels.vectors import Code

# e**r for |r| <= ln(2)/2, by degree: minimax fits of the relative error, 9.2e-8 (exact at 0) and
# 7.5e-5.
_COEFFICIENTS = {
    5: (
        1.0,
        0.9999997065096856,
        0.4999914881358959,
        0.16667637639595095,
        0.04189802677351945,
        0.008290266394733452,
    ),
    3: (0.9999280453961843, 1.0001642512181417, 0.5049642486846484, 0.16566822439132978),
}
_LOWEST = -87.33654  # e**x is subnormal below
_ROUNDING = 12582912.0  # 1.5 * 2**23: float32 of this size are integers


@dataclass(frozen=True)
class Weighing:
    """What a kernel does to scores.

    Attributes:
        plan: the kernel.

    """

    plan: Plan

    @property
    def factor(self) -> float:
        """What scores are multiplied with in exponents."""
        plan = self.plan
        return plan.unit * (plan.attention.scale if plan.copies_queries else 1.0)

    @property
    def scales_maxima(self) -> bool:
        """Whether the largest scores are kept multiplied with the factor.

        An exponent is one instruction then, and what one pass takes away is to the bit what the
        next one makes up for. A bias may be as low as a float32 gets, which leaves no room.
        """
        return self.factor != 1 and self.plan.attention.bias is None

    def exponent(self, score: Expr, base: Expr) -> Expr:
        """Return the exponent of a score beside the largest, which is kept as `base`."""
        factor = self.plan.lanes.number(self.factor)
        if self.scales_maxima:
            return score * factor - base
        return score - base if self.factor == 1 else (score - base) * factor

    def power(self, code: Code, x: Expr) -> Expr:
        """Return the weight that belongs to an exponent."""
        tile = self.plan.tile
        if tile.has_powers:
            return code.name("weight", power_of_two(x, polynomial_degree(tile.is_rounded)))
        return exponential(code, code.name("x", x), tile.is_rounded)


def polynomial_degree(is_rounded: bool) -> int:
    """Return the degree for weights that are rounded to bfloat16, or for float32 ones."""
    return 3 if is_rounded else 5


def exponential(code: Code, x: Expr, bfloat16: bool) -> Expr:
    """Return e**x for x <= 0; 0 where the result would be subnormal, NaN for NaN.

    A weight counts beside the largest one, which is 1: the error is at most 1.3e-7, about 2 units
    in the last place of 1. Where the CPU fuses multiplication and addition it is also about 2 units
    in the result's last place down to x = -10, and 5 at the far end.

    Args:
        code: takes the statements.
        x: float32 vector, cheap to write out several times.
        bfloat16: whether the result is rounded to bfloat16, for which a short polynomial will do.

    """
    lanes = code.lanes
    number = lanes.number
    # The low bits of `shifted` are round(x / ln 2). That it is a register keeps TVM's simplifier
    # from cancelling the two additions.
    shifted = code.name("shifted", x * number(math.log2(math.e)) + number(_ROUNDING))
    whole = code.name("whole", shifted - number(_ROUNDING))
    r = code.name("r", x - whole * number(math.log(2)))
    *rest, highest = _COEFFICIENTS[polynomial_degree(bfloat16)]
    power = number(highest)
    for coefficient in reversed(rest):
        power = code.name("power", power * r + number(coefficient))
    exponent = lanes.reinterpret("int32", shifted) << lanes.integer(23)
    scaled = lanes.reinterpret("float32", lanes.reinterpret("int32", power) + exponent)
    return code.name("e", tirx.Select(x < number(_LOWEST), number(0.0), scaled))
