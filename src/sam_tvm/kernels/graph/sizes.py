"""Symbolic sizes of a kernel: variables of its own, so that calls of equal sizes share one."""

from __future__ import annotations

import tvm_ffi
from tvm.ir import Expr, Var


class OwnSizes:
    """Gives expressions variables n0, n1, ... in place of the function's."""

    def __init__(self) -> None:
        self._names: dict[Var, Var] = {}

    def __call__(self, expr: Expr) -> Expr:
        """Return an expression in variables of the kernel."""
        return tvm_ffi.structural_map(expr, (Var, self._own))

    def _own(self, var: Var) -> Var:
        return self._names.setdefault(var, Var(f"n{len(self._names)}", var.ty))

    @property
    def variables(self) -> list[Var]:
        """The kernel's variables so far."""
        return list(self._names.values())

    @property
    def values(self) -> list[Var]:
        """What they stand for at the call."""
        return list(self._names)
