"""Constants for WebGPU, whose language has no infinite number and whose devices need know none.

WGSL's standard (section on floating-point evaluation) lets an implementation assume that there are
neither infinities nor NaN, and TVM writes `inff`, which no compiler of it takes. The largest finite
number does the same in what is masked, compared or clipped with it; where all of a row is masked,
the softmax of PyTorch is NaN and this one's is uniform.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Expr


def finite_constants() -> tvm.ir.transform.Pass:
    """Return a pass that writes infinite constants of every PrimFunc as the largest finite ones."""

    @tvm.transform.module_pass(opt_level=0, name="SamTvmFiniteConstants")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc):
                module[var] = function.with_body(
                    tvm_ffi.structural_map(function.body, (tirx.FloatImm, _finite))
                )
        return module

    return run


def _finite(constant: tirx.FloatImm) -> Expr:
    if not math.isinf(constant.value):
        return constant
    dtype = str(constant.ty.dtype)
    return tirx.max_value(dtype) if constant.value > 0 else tirx.min_value(dtype)
