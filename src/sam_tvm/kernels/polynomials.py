"""Polynomials of float32, and names for values that they use several times."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import dtype_of


def number(value: float) -> Expr:
    """Return a float32."""
    return tirx.FloatImm("float32", value)


def polynomial(coefficients: Sequence[float], x: Expr) -> Expr:
    """Return a polynomial's value by Horner's rule, its lowest coefficient first."""
    result = number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + number(coefficient)
    return result


class Names:
    """Names values that are used several times; they become statements before the store.

    Each is a buffer of one vector, which LLVM keeps in a register. `Let` and `Bind` would say the
    same, but TVM's simplifier writes their values out at each use, which grows exponentially.
    """

    def __init__(self, lane: Expr, lanes: int) -> None:
        self.allocations: list[tirx.Stmt] = []
        self.stores: list[tirx.Stmt] = []
        self._lane, self._lanes = lane, lanes

    def name(self, name: str, value: Expr) -> Expr:
        """Return what reads a value from now on."""
        buffer = tirx.decl_buffer((self._lanes,), dtype_of(value), name)
        self.allocations.append(tirx.AllocBuffer(buffer))
        self.stores.append(tirx.BufferStore(buffer, value, [self._lane]))
        return tirx.BufferLoad(buffer, [self._lane])
