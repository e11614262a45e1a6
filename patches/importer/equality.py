"""`eq.Scalar` and `ne.Scalar` on boolean tensors.

TVM compiles them to a floating-point comparison of single bits, which LLVM refuses. Its
"not equal" is also false for NaN, where torch's is true.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch


def eq(node: fx.Node, importer: Any) -> relax.Expr:
    """Compare with a number; a boolean tensor is its own comparison with true."""
    return _compare(node, importer, equal=True)


def ne(node: fx.Node, importer: Any) -> relax.Expr:
    """Compare with a number; a boolean tensor is its own comparison with false."""
    return _compare(node, importer, equal=False)


def _compare(node: fx.Node, importer: Any, equal: bool) -> relax.Expr:
    args = arguments(node, importer)
    x, number = args["self"], args["other"]
    emit = importer.block_builder.emit
    if x.ty.dtype == "bool":
        if number not in (0, 1):  # no boolean equals any other number
            return emit(relax.op.full(x.ty.shape, relax.const(not equal, "bool")))
        return x if bool(number) == equal else emit(relax.op.logical_not(x))
    is_equal = emit(relax.op.equal(x, relax.const(number, x.ty.dtype)))
    return is_equal if equal else emit(relax.op.logical_not(is_equal))


PATCH = Patch(
    name="equality",
    symptom="Invalid operand types for FCmp instruction",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"eq.Scalar": eq, "ne.Scalar": ne},
)
