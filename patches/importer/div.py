"""`div.Tensor_mode`: division with rounding.

TVM makes an int32 or float32 constant of a Python number, whatever the tensor's dtype is.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments, result_dtype
from sam_tvm.patches.patch import Patch


def div(node: fx.Node, importer: Any) -> relax.Expr:
    """Divide in the dtype of the result, then round towards -inf ("floor") or 0 ("trunc")."""
    args = arguments(node, importer)
    dtype, mode = result_dtype(node), args["rounding_mode"]
    emit = importer.block_builder.emit

    def operand(value: Any) -> relax.Expr:
        if not isinstance(value, relax.Expr):
            return relax.const(value, dtype)
        return value if value.ty.dtype == dtype else emit(relax.op.astype(value, dtype))

    left, right = operand(args["self"]), operand(args["other"])
    if mode == "floor" and "int" in dtype:
        return emit(relax.op.floor_divide(left, right))
    quotient = emit(relax.op.divide(left, right))
    if mode is None or "int" in dtype:  # integers divide towards 0
        return quotient
    return emit(relax.op.floor(quotient) if mode == "floor" else relax.op.trunc(quotient))


PATCH = Patch(
    name="div",
    symptom="Binary operators must have the same datatype for both operands.",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream="https://github.com/apache/tvm/pull/20373",
    apply={"div.Tensor_mode": div},
)
