"""Divisions of positions that fall while a loop rises, as in reads that run backwards (`flip`)."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, opaque, variables


def shield_falling(body: tirx.Stmt) -> tirx.Stmt:
    """Return the statement with the numerators of falling quotients opaque to TVM.

    Its analysis of index maps, which FlattenBuffer runs over every index, moves a negative factor
    into the divisor: `(29 - v) // 5` becomes `v // -5 + 5`, which is 4 and not 5 at v = 1.
    """

    def shield(quotient: Expr) -> Expr:
        if constant_value(quotient.b) is None or not _falls(quotient.a):
            return quotient
        return type(quotient)(opaque(quotient.a), quotient.b)

    return tvm_ffi.structural_map(body, ((tirx.FloorDiv, tirx.FloorMod), shield))


def _falls(position: Expr) -> bool:
    """Tell whether a variable is subtracted, or multiplied by a negative number, anywhere in it."""
    found: list[bool] = []

    def subtraction(expr: Expr) -> None:
        found.append(bool(variables(expr.b)))

    def product(expr: Expr) -> None:
        factors = [constant_value(expr.a), constant_value(expr.b)]
        found.append(any(factor is not None and factor < 0 for factor in factors))

    tvm_ffi.structural_walk(position, [(tirx.Sub, subtraction), (tirx.Mul, product)])
    return any(found)
