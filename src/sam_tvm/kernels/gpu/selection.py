"""Selections whose conditions are numbers and not vectors.

TVM 0.27 declares the condition of a vector selection with the type of its values, so that CUDA's
compiler is asked for a `float2` of two truths. The condition of a call of `if_then_else` stays a
number, or the loop around it is not made a vector.
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.graph.rewriting import editing_pass


def scalar_conditions() -> tvm.ir.transform.Pass:
    """Return a pass that writes every `Select` of a PrimFunc as `if_then_else`."""
    return editing_pass("SamTvmScalarConditions", tirx.Select, _branch)


def _branch(select: tirx.Select) -> Expr:
    return tirx.if_then_else(select.condition, select.true_value, select.false_value)
