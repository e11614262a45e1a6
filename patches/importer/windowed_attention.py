"""`sam_tvm::windowed_attention`, our operator for shifted windows: a call that a kernel replaces.

`kernels.attention` makes a kernel of the call, or writes it out for TVM's own pipeline.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments, result_dtype
from sam_tvm.patches.packed_functions import WINDOWED_ATTENTION
from sam_tvm.patches.patch import Patch


def windowed_attention(node: fx.Node, importer: Any) -> relax.Expr:
    """Return the call, its arguments in the operator's order."""
    tensors = list(arguments(node, importer).values())
    rows, _, heads, depth = tensors[0].ty.shape
    result = relax.TensorType((rows, heads * depth), result_dtype(node))
    return importer.block_builder.emit(
        relax.op.call_dps_packed(WINDOWED_ATTENTION, tensors, result)
    )


PATCH = Patch(
    name="windowed_attention",
    symptom="Unsupported function types ['windowed_attention.default']",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"windowed_attention.default": windowed_attention},
)
