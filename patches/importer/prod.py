"""`prod.dim_int`: the product along one axis, which TVM's importer does not list."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments, result_dtype
from sam_tvm.patches.patch import Patch


def prod(node: fx.Node, importer: Any) -> relax.Expr:
    """Multiply along `dim` in the dtype of the result (int64 for any integers)."""
    args = arguments(node, importer)
    emit = importer.block_builder.emit
    x, dtype = args["self"], result_dtype(node)
    if x.ty.dtype != dtype:
        x = emit(relax.op.astype(x, dtype))
    return emit(relax.op.prod(x, args["dim"], keepdims=args["keepdim"]))


PATCH = Patch(
    name="prod",
    symptom="Unsupported function types ['prod.dim_int']",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"prod.dim_int": prod},
)
