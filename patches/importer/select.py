"""`select.int`: one index along one axis.

TVM takes the index as it is, and `take` does not count a negative one from the end.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch


def select(node: fx.Node, importer: Any) -> relax.Expr:
    """Slice out the index, then drop the axis."""
    args = arguments(node, importer)
    x, index = args["self"], args["index"]
    axis = args["dim"] % len(x.ty.shape)
    begin = index if index >= 0 else x.ty.shape[axis] + index
    emit = importer.block_builder.emit
    slice_ = emit(relax.op.strided_slice(x, axes=[axis], begin=[begin], end=[begin + 1]))
    return emit(relax.op.squeeze(slice_, axis=[axis]))


PATCH = Patch(
    name="select",
    symptom="silent: x[-1] reads memory outside the tensor",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream="https://github.com/apache/tvm/issues/19436",
    apply={"select.int": select},
)
