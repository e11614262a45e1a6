"""Selections whose conditions are numbers and not vectors.

TVM 0.27 declares the condition of a vector selection with the type of its values, so that CUDA's
compiler is asked for a `float2` of two truths. The condition of a call of `if_then_else` stays a
number, or the loop around it is not made a vector.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Expr


def scalar_conditions() -> tvm.ir.transform.Pass:
    """Return a pass that writes every `Select` of a PrimFunc as `if_then_else`."""

    @tvm.transform.module_pass(opt_level=0, name="SamTvmScalarConditions")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc):
                body = tvm_ffi.structural_map(function.body, (tirx.Select, _branch))
                module[var] = function.with_body(body)
        return module

    return run


def _branch(select: tirx.Select) -> Expr:
    return tirx.if_then_else(select.condition, select.true_value, select.false_value)
