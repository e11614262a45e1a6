"""Which values of a Relax function depend on its parameters alone.

Such values are computed once, when a model is built: `pipeline.lifting` takes them out, and the
rewrites of this package may rearrange a weight at no cost while the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Container

import tvm
from tvm import relax

from sam_tvm.kernels.graph.operators import MATMUL, operator_name

# A value this much larger than the parameters that it comes from (a tiled or broadcast one) stays
# where it is: storing it would cost more than computing it. The merged taps of a convolution after
# a subdivision are 64 for 27.
_MOST_GROWTH = 3


def parameter_values(function: relax.Function) -> dict[relax.Var, frozenset[relax.Var]]:
    """The variables that depend on parameters alone, with the parameters that each depends on.

    The parameters of an imported function follow its inputs, whose number is in its attribute
    `num_input`. They are part of the answer. Everything in it is a tensor or a tuple of tensors
    of known sizes, at most `_MOST_GROWTH` times as large as the parameters behind it.
    """
    inputs = int(function.attrs["num_input"])
    known = {var: frozenset([var]) for var in function.params[inputs:]}
    for block in function.body.blocks:
        for binding in block.bindings:
            roots = _roots(binding, known)
            if roots:
                known[binding.var] = roots
    return known


def functions_with_parameters(
    module: tvm.IRModule,
) -> list[tuple[tvm.ir.GlobalVar, relax.Function]]:
    """The Relax functions that say where their parameters begin."""
    return [
        (var, function)
        for var, function in module.functions_items()
        if isinstance(function, relax.Function) and "num_input" in (function.attrs or {})
    ]


def parameters_first(function: relax.Function) -> relax.Function:
    """The function with what depends on parameters alone at the beginning of each block."""
    known = parameter_values(function)
    blocks = []
    for block in function.body.blocks:
        ordered = sorted(block.bindings, key=lambda binding: binding.var not in known)
        blocks.append(type(block)(ordered))
    body = relax.SeqExpr(blocks, function.body.body)
    return relax.Function(function.params, body, function.ret_ty, function.is_pure, function.attrs)


def is_product_with(call: relax.Expr | None, weights: Container[relax.Var]) -> bool:
    """Tell whether a value multiplies float32 rows by a matrix, one of these variables."""
    if operator_name(call) != MATMUL or call.args[1] not in weights:
        return False
    x, weight = call.args[0].ty, call.args[1].ty
    return x.ndim >= 2 and weight.ndim == 2 and str(x.dtype) == "float32"


def _roots(
    binding: relax.Binding, known: dict[relax.Var, frozenset[relax.Var]]
) -> frozenset[relax.Var] | None:
    if not isinstance(binding, relax.VarBinding):
        return None
    used = relax.analysis.free_vars(binding.value)
    if not used or not all(var in known for var in used):
        return None
    roots = frozenset().union(*(known[var] for var in used))
    size = size_in_bytes(binding.var.ty)
    if size is None or size > _MOST_GROWTH * sum(size_in_bytes(var.ty) or 0 for var in roots):
        return None
    return roots


def size_in_bytes(ty: tvm.ir.Type) -> int | None:
    """Bytes of a tensor or a tuple of tensors; None where a size is not known."""
    if isinstance(ty, relax.TupleType):
        sizes = [size_in_bytes(field) for field in ty.fields]
        return None if None in sizes else sum(sizes)
    if not isinstance(ty, relax.TensorType) or ty.shape is None:
        return None
    if not isinstance(ty.shape, relax.ShapeExpr):
        return None
    shape = [getattr(extent, "value", None) for extent in ty.shape]
    if None in shape:
        return None
    return math.prod(shape) * -(-tvm.DataType(str(ty.dtype)).bits // 8)
