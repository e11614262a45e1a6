"""Constants for WebGPU, whose language has no infinite number and whose devices need know none.

WGSL's standard (section on floating-point evaluation) lets an implementation assume that there are
neither infinities nor NaN, and TVM writes `inff`, which no compiler of it takes. The largest finite
number does the same in what is masked, compared or clipped with it; where all of a row is masked,
the softmax of PyTorch is NaN and this one's is uniform.
"""

from __future__ import annotations

import math

import tvm
from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.graph.rewriting import editing_pass


def finite_constants() -> tvm.ir.transform.Pass:
    """Return a pass that writes infinite constants of every PrimFunc as the largest finite ones."""
    return editing_pass("SamTvmFiniteConstants", tirx.FloatImm, _finite)


def _finite(constant: tirx.FloatImm) -> Expr:
    if not math.isinf(constant.value):
        return constant
    dtype = str(constant.ty.dtype)
    return tirx.max_value(dtype) if constant.value > 0 else tirx.min_value(dtype)
