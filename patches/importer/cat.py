"""`cat.default` of tensors of several dtypes, which torch promotes and TVM refuses."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments, result_dtype
from sam_tvm.patches.patch import Patch


def cat(node: fx.Node, importer: Any) -> relax.Expr:
    """Convert every tensor to the dtype of the result, then concatenate."""
    args = arguments(node, importer)
    emit = importer.block_builder.emit
    dtype = result_dtype(node)
    tensors = [
        tensor if tensor.ty.dtype == dtype else emit(relax.op.astype(tensor, dtype))
        for tensor in args["tensors"]
    ]
    return emit(relax.op.concat(tensors, axis=args["dim"]))


PATCH = Patch(
    name="cat",
    symptom="Concat expects all input tensors to have the same dtype.",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"cat.default": cat},
)
